// The page: which streams exist, which are on the screen, and what the person asked for. Everything else is a part.

import { showAccuracy } from "./accuracy.js";
import { addStream, listStreams, removeStream } from "./api.js";
import { EventTable } from "./events.js";
import { showHealth, showOverview } from "./health.js";
import { LAYERS, SHOWN } from "./overlay.js";
import { Player } from "./player.js";

const POLL_MS = 1000;
const WALL = "*"; // the picker's name for "all of them"; no stream may be called so
const WALL_MAX = 9;

export function start(root) {
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  window.sightline = new Viewer(root);
}

class Viewer {
  streams = [];
  players = new Map();
  picked = localStorage.getItem("sl-picked");
  layers = new Set(JSON.parse(localStorage.getItem("sl-layers") ?? "null") ?? SHOWN);

  constructor(root) {
    this.root = root;
    this.$ = (selector) => root.querySelector(selector);
    this.events = new EventTable(this.$(".sl-events"), (stream) => this.pick(stream));
    this.#theme(localStorage.getItem("sl-theme"));
    this.#wire();
    this.#showEvents();
    this.#poll();
  }

  // what tests and curious people read: the picked stream's player
  get player() {
    return this.players.get(this.picked) ?? this.players.values().next().value;
  }
  get framesDecoded() {
    return this.player?.stats.framesDecoded ?? 0;
  }
  get matched() {
    return this.player?.stats.matched ?? 0;
  }
  get unmatched() {
    return this.player?.stats.unmatched ?? 0;
  }
  get lastResult() {
    return this.player?.lastResult ?? null;
  }

  /** Put one stream (or WALL) on the screen. */
  pick(name) {
    if (name !== WALL && !this.streams.some((stream) => stream.name === name)) return;
    this.picked = name;
    localStorage.setItem("sl-picked", name);
    this.#arrange();
    if (this.$(".sl-only-this").checked) this.#showEvents();
  }

  async #poll() {
    try {
      const { streams, worker } = await listStreams();
      this.streams = streams;
      this.#notice(worker.alive ? "" : "The worker does not answer; it is being started again.");
    } catch (error) {
      this.#notice(`No connection: ${error.message}.`);
      const gone = { state: "UNREACHABLE", error: error.message };
      this.streams = this.streams.map((stream) => ({ ...stream, state: { ...stream.state, ...gone } }));
    }
    this.#arrange();
    setTimeout(() => this.#poll(), POLL_MS);
  }

  #arrange() {
    const names = this.streams.map((stream) => stream.name);
    if (this.picked !== WALL && !names.includes(this.picked)) this.picked = names[0] ?? null;
    const wanted = this.picked === WALL ? names.slice(0, WALL_MAX) : names.filter((name) => name === this.picked);
    for (const [name, player] of this.players) {
      if (wanted.includes(name)) continue;
      player.close();
      player.tile.remove();
      this.players.delete(name);
    }
    for (const name of wanted) if (!this.players.has(name)) this.players.set(name, this.#newPlayer(name));
    for (const stream of this.streams) this.players.get(stream.name)?.setState(stream.state);
    this.$(".sl-wall").dataset.count = wanted.length;
    this.$(".sl-empty").hidden = names.length > 0;
    this.#picker(names);
    const subject = this.streams.find((stream) => stream.name === this.picked);
    const health = this.$(".sl-health");
    if (this.picked === WALL) showOverview(health, this.streams, (name) => this.pick(name));
    else showHealth(health, subject, this.player);
    showAccuracy(this.$(".sl-accuracy"), subject);
    this.$("[data-do=remove]").hidden = !subject;
    const hidden = this.picked === WALL ? names.length - wanted.length : 0;
    this.$(".sl-note").textContent = hidden ? `${hidden} more not shown` : "";
  }

  #newPlayer(name) {
    const tile = this.$(".sl-tile-template").content.cloneNode(true).firstElementChild;
    const stream = this.streams.find((each) => each.name === name);
    tile.dataset.stream = name;
    tile.querySelector(".sl-name").textContent = name;
    tile.querySelector(".sl-world").hidden = stream.source !== "world";
    tile.ondblclick = () => this.#fullScreen(tile);
    tile.onclick = () => this.picked === WALL && this.pick(name);
    this.$(".sl-wall").append(tile);
    return new Player(tile, name, this.layers);
  }

  #picker(names) {
    const nav = this.$(".sl-picker");
    const wanted = names.length > 1 ? [...names, WALL] : names;
    if (nav.dataset.names !== JSON.stringify(wanted)) {
      nav.dataset.names = JSON.stringify(wanted);
      nav.replaceChildren(...wanted.map((name) => this.#chip(name)));
    }
    for (const chip of nav.children) {
      const on = chip.dataset.stream === this.picked;
      chip.setAttribute("aria-selected", on);
      chip.tabIndex = on ? 0 : -1;
      const stream = this.streams.find(({ name }) => name === chip.dataset.stream);
      if (stream) chip.firstElementChild.dataset.state = stream.state.state;
      if (stream) chip.title = stream.state.state;
    }
  }

  #chip(name) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.role = "tab";
    chip.className = "sl-chip";
    chip.dataset.stream = name;
    const dot = document.createElement("span");
    dot.className = name === WALL ? "sl-grid-mark" : "sl-dot";
    chip.append(dot, name === WALL ? "Wall" : name);
    chip.onclick = () => this.pick(name);
    return chip;
  }

  #showEvents() {
    const only = this.$(".sl-only-this").checked && this.picked !== WALL;
    this.events.show({ stream: only ? this.picked : "", kind: this.$(".sl-kind").value });
  }

  #wire() {
    for (const box of this.root.querySelectorAll(".sl-layers input")) {
      box.checked = this.layers.has(box.name);
      box.onchange = () => this.#layer(box.name, box.checked);
    }
    this.$(".sl-kind").onchange = () => this.#showEvents();
    this.$(".sl-only-this").onchange = () => this.#showEvents();
    this.root.addEventListener("click", ({ target }) => this.#do(target.closest("[data-do]")?.dataset.do, target));
    this.#dialog("add").querySelector("form").onsubmit = (event) => this.#submitAdd(event);
    this.#dialog("remove").querySelector("form").onsubmit = (event) => this.#submitRemove(event);
    document.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("pagehide", () => {
      this.events.close();
      for (const player of this.players.values()) player.close();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  #layer(name, on) {
    if (on) this.layers.add(name);
    else this.layers.delete(name);
    this.$(`.sl-layers [name=${name}]`).checked = on;
    localStorage.setItem("sl-layers", JSON.stringify([...this.layers]));
    for (const player of this.players.values()) player.redraw();
  }

  #do(action, target) {
    if (action === "add" || action === "help") this.#open(action);
    else if (action === "remove") this.#askRemove(this.picked);
    else if (action === "close") target.closest("dialog").close();
    else if (action === "theme") this.#theme(document.body.classList.contains("dark") ? "light" : "dark");
    else if (action === "full") this.#fullScreen(this.$(".sl-wall"));
  }

  #key(event) {
    const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const layer = { o: "actions", e: "attention" }[event.key] ?? LAYERS.find((name) => name[0] === event.key && name[0] !== "a");
    const actions = { a: "add", d: "theme", f: "full", "?": "help" };
    if (layer) this.#layer(layer, !this.layers.has(layer));
    else if (event.key === "w" && this.streams.length > 1) this.pick(WALL);
    else if (/^[1-9]$/.test(event.key)) this.pick(this.streams[event.key - 1]?.name);
    else if (event.key in actions) this.#do(actions[event.key]);
    else if (event.target.role === "tab" && /^Arrow(Left|Right)$/.test(event.key)) this.#step(event);
    else return;
    event.preventDefault();
  }

  #step({ key, target }) {
    const next = key === "ArrowRight" ? target.nextElementSibling : target.previousElementSibling;
    next?.click();
    next?.focus();
  }

  #dialog(name) {
    return this.$(`[data-dialog=${name}]`);
  }

  #open(name) {
    const dialog = this.#dialog(name);
    dialog.querySelector(".sl-error")?.setAttribute("hidden", "");
    dialog.showModal();
  }

  async #submitAdd(event) {
    event.preventDefault();
    const form = event.target;
    const { name, url } = Object.fromEntries(new FormData(form));
    await this.#attempt(form, async () => {
      await addStream({ name: name.trim(), url: url.trim(), loop: form.loop.checked });
      this.streams = (await listStreams()).streams;
      this.pick(name.trim());
      form.reset();
    });
  }

  #askRemove(name) {
    this.$(".sl-remove-name").textContent = name;
    this.#open("remove");
  }

  async #submitRemove(event) {
    event.preventDefault();
    const name = this.$(".sl-remove-name").textContent;
    await this.#attempt(event.target, async () => {
      await removeStream(name);
      this.streams = this.streams.filter((stream) => stream.name !== name);
      this.#arrange();
    });
  }

  async #attempt(form, action) {
    const error = form.querySelector(".sl-error");
    error.hidden = true;
    try {
      await action();
      form.closest("dialog").close();
    } catch (refusal) {
      error.textContent = refusal.message;
      error.hidden = false;
    }
  }

  #fullScreen(element) {
    if (document.fullscreenElement) document.exitFullscreen();
    else element.requestFullscreen?.().catch(() => {});
  }

  #notice(text) {
    const notice = this.$(".sl-notice");
    notice.hidden = !text;
    if (notice.textContent !== text) notice.textContent = text;
  }

  #theme(choice) {
    if (!choice) return; // Gradio follows the system until the person chooses
    document.body.classList.toggle("dark", choice === "dark");
    localStorage.setItem("sl-theme", choice);
  }
}
