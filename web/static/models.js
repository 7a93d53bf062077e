// The model page: each model that the worker knows, its measured numbers and its card as its makers wrote it.

import { listModels } from "./api.js";
import { el, factList } from "./dom.js";
import { markdown } from "./markdown.js";
import { href } from "./router.js";

const MEASURED = ["measured", "shown"]; // parts of a card that are headline numbers
const HIDDEN = new Set(["name", "task", "text", "shown", "measured_in_full", "recipe", "curve"]);

export class ModelsPage {
  #turn = 0;

  constructor(root) {
    this.root = root;
  }

  /** Say of each model which of `streams` use it. */
  tellUsers(streams) {
    for (const place of this.root.querySelectorAll(".sl-users")) {
      const names = streams.filter((stream) => stream.model === place.dataset.users).map(({ name }) => name);
      if (place.dataset.said === JSON.stringify(names)) continue;
      place.dataset.said = JSON.stringify(names);
      const links = names.map((name, i) => [i ? ", " : "used by ", el("a", { href: href("camera", name) }, name)]);
      place.replaceChildren(...(names.length ? links.flat() : ["not in use"]));
    }
  }

  async show(streams) {
    const turn = ++this.#turn;
    const head = el("div.sl-page-head", {}, el("h2", {}, "Models"), el("p.sl-soft", {}, "Measured on the synthetic world: not your camera."));
    if (!this.root.children.length) this.root.replaceChildren(head, el("p.sl-quiet", { role: "status" }, "Asking for the models…"));
    let models;
    try {
      ({ models } = await listModels());
    } catch (error) {
      if (turn === this.#turn) this.root.replaceChildren(head, el("p.sl-quiet", { role: "alert" }, `The models cannot be shown: ${error.message}`));
      return;
    }
    if (turn !== this.#turn) return;
    const inUse = new Set(streams().map(({ model }) => model));
    const sorted = [...models].sort((a, b) => inUse.has(b.name) - inUse.has(a.name) || a.name.localeCompare(b.name));
    this.root.replaceChildren(head, sorted.length ? el("div.sl-cards.sl-model-cards", {}, sorted.map(card)) : el("p.sl-quiet", {}, "The worker has not said yet which models it knows."));
    this.tellUsers(streams());
  }

  hide() {
    this.#turn++;
    this.root.replaceChildren();
  }
}

function card(model) {
  const { shown = {} } = model;
  const numbers = numbersOf(shown);
  const rest = factList([...plainOf(model), ...plainOf(shown)].filter(([name]) => !HIDDEN.has(name)).map(([name, value]) => [said(name), value]));
  return el(
    "article.sl-card.sl-model",
    { data: { model: model.name } },
    el("header", {}, el("h3", {}, model.name), (model.task ?? shown.task) && el("span.sl-tag", {}, model.task ?? shown.task), el("span.sl-users", { data: { users: model.name } })),
    numbers.length > 0 && el("div.sl-numbers", {}, numbers.map(number)),
    rest,
    model.text && el("details.sl-card-text", {}, el("summary", {}, "Model card"), el("div.sl-markdown", {}, markdown(model.text))),
  );
}

/** Headline numbers of a card: those under `measured`, or those that lie open in it, [name, value]. */
function numbersOf(shown) {
  const nested = MEASURED.flatMap((name) => (shown[name] && typeof shown[name] === "object" ? Object.entries(shown[name]) : []));
  const open = Object.entries(shown).filter(([name]) => name !== "parameters" && !HIDDEN.has(name));
  const found = nested.length ? nested : open;
  return found.filter(([, value]) => typeof value === "number");
}

function number([name, value]) {
  const isShare = value >= 0 && value <= 1;
  const bar = el("span.sl-number-bar");
  if (isShare) bar.style.setProperty("--share", value);
  return el("dl", {}, el("dt", {}, said(name)), el("dd", {}, isShare ? value.toFixed(3) : value.toLocaleString("en")), isShare && bar);
}

/** What a card says in words, [name, text]; numbers and nested parts are left to others. */
function plainOf(part) {
  return Object.entries(part).flatMap(([name, value]) => {
    if (name === "size_bytes") return [["size", `${(value / 1e6).toFixed(1)} MB`]];
    if (name === "input_hw" && value) return [["picture", `${value[1]}×${value[0]}`]];
    if (name === "attention") return [["asked why", value ? "it can show where it looked" : "it has no attention to show"]];
    if (name === "parameters" && typeof value === "number") return [[name, value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : value.toLocaleString("en")]];
    if (typeof value === "string") return [[name, value]];
    if (Array.isArray(value) && value.length && value.every((each) => typeof each === "string")) return [[name, value.join(", ")]];
    return [];
  });
}

const said = (name) => name.replaceAll("_", " ");
