// One event, whole: its picture with the box and the way the object went, a clip, why it fired, where the time went, and
// what made it. What the server does not have is said in its own words.

import { clipUrl, getEvent, pictureUrl, whyOfEvent } from "./api.js";
import { el, factList } from "./dom.js";
import { href } from "./router.js";
import { evidenceOf } from "./evidence.js";
import { waterfall } from "./waterfall.js";
import { WhyView } from "./why.js";
import { dash, sentenceOf, span, timeOf } from "./words.js";

const CLIP_RETRY_MS = 2000;
const VIEWS = [
  ["picture", "Picture"],
  ["clip", "Clip"],
  ["why", "Why did it fire?"],
];

export class EventDetail {
  #turn = 0;
  #id = "";
  #view = "picture";

  /** `known(id)` is what the feed has of an event, `beside(id, step)` the event next to it. */
  constructor(root, { known, beside }) {
    this.root = root;
    this.known = known;
    this.beside = beside;
    this.hide();
  }

  hide() {
    this.#turn++;
    this.#id = "";
    this.root.replaceChildren(
      el("p.sl-quiet", {}, "Choose an event: its picture, a clip, and why it fired."),
    );
  }

  async show(id) {
    if (id === this.#id) return;
    const turn = ++this.#turn;
    this.#id = id;
    const known = this.known(id);
    if (known) this.#fill({ event: known, picture: null, clip: null, path: [], why: null });
    else this.root.replaceChildren(el("p.sl-quiet", { role: "status" }, "Looking for the event…"));
    let found;
    try {
      found = await getEvent(id);
    } catch (error) {
      if (turn !== this.#turn) return;
      if (known) this.#fill({ event: known, picture: false, clip: false, path: [], why: false, refusal: error.message });
      else this.root.replaceChildren(this.#bar(null), el("p.sl-quiet", { role: "alert" }, `This event cannot be shown: ${error.message}`));
      return;
    }
    if (turn === this.#turn) this.#fill(found);
  }

  #bar(event) {
    const step = (way, words, sign) => {
      const next = this.beside(this.#id, way);
      return el(next ? "a.sl-icon" : "a.sl-icon.sl-off", { href: next && href("events", next), title: words, "aria-label": words, "aria-disabled": !next && "true" }, sign);
    };
    return el(
      "header.sl-detail-head",
      {},
      el("a.sl-icon.sl-back", { href: "#/events", title: "Close (Esc)", "aria-label": "Close" }, "✕"),
      el("div.sl-detail-title", {}, event && el("h2", {}, sentenceOf(event)), event && this.#place(event)),
      el("nav.sl-steps", { "aria-label": "Events beside" }, step(-1, "Newer (k)", "↑"), step(1, "Older (j)", "↓")),
    );
  }

  #place(event) {
    return el(
      "p.sl-detail-place",
      {},
      el("b.sl-kind-word", { data: { kind: event.kind } }, event.kind),
      el("a", { href: href("camera", event.stream) }, event.stream),
      el("time", { title: new Date(event.wall_ns / 1e6).toString() }, timeOf(event.wall_ns)),
    );
  }

  #fill(found) {
    const { event } = found;
    const stage = el("div.sl-evidence");
    const body = el("div.sl-detail-body", {}, stage, this.#numbers(event));
    this.root.replaceChildren(this.#bar(event), body);
    if (found.picture === null) {
      stage.append(el("p.sl-quiet", { role: "status" }, "Fetching the evidence…"));
      return;
    }
    const may = { picture: found.picture, clip: found.clip || found.clip_pending, why: isOfObject(event) && !found.refusal };
    const offered = VIEWS.filter(([name]) => may[name]);
    if (!found.picture) body.prepend(el("p.sl-note-line", { role: "note" }, found.refusal ?? missing(found)));
    if (!offered.length) return stage.remove();
    const place = el("div.sl-evidence-place");
    const tabs = el("div.sl-segments", { role: "tablist", "aria-label": "Evidence" });
    const choose = (name) => {
      if (name) this.#view = name;
      for (const tab of tabs.children) tab.setAttribute("aria-selected", tab.dataset.view === name);
      place.replaceChildren(...(name ? [this.#viewOf(name, found)] : []));
    };
    for (const [name, words] of offered) {
      tabs.append(el("button", { type: "button", role: "tab", data: { view: name }, onclick: () => choose(name) }, words));
    }
    stage.append(tabs, place);
    const first = offered[0][0] === "why" ? "" : offered[0][0]; // to ask why costs the server work: only when one asks
    choose(first && offered.some(([name]) => name === this.#view) ? this.#view : first);
  }

  #viewOf(name, { event, path, clip_pending: pending }) {
    if (name === "picture") return evidenceOf(event, path ?? [], pictureUrl(event.id));
    if (name === "clip") return pending ? this.#awaited(event.id) : clip(event);
    const why = new WhyView({ picture: pictureUrl(event.id), wallNs: event.wall_ns });
    why.ask(() => whyOfEvent(event.id));
    return why.root;
  }

  /** A clip ends some seconds after its event: ask again until it is there, or until somebody looks elsewhere. */
  #awaited(id) {
    const place = el("p.sl-note-line", { role: "status" }, "The clip is in the making…");
    setTimeout(async () => {
      if (!place.isConnected || id !== this.#id) return;
      const found = await getEvent(id).catch(() => null);
      if (!place.isConnected || id !== this.#id) return;
      if (found && !found.clip && !found.clip_pending) place.textContent = `There is no clip: ${found.no_clip ?? "it could not be made"}`;
      else place.replaceWith(found?.clip ? clip(found.event) : this.#awaited(id));
    }, CLIP_RETRY_MS);
    return place;
  }

  #numbers(event) {
    const { attrs = {}, evidence = {}, provenance = {} } = event;
    const seen = evidence.last_wall_ns && evidence.first_wall_ns ? (evidence.last_wall_ns - evidence.first_wall_ns) / 1e9 : null;
    const facts = factList([
      ["Class", attrs.label],
      ["Score", dash(attrs.score, (score) => score.toFixed(2)), "of the sighting that made the event"],
      ["Best score", evidence.top_score?.toFixed(2)],
      ["Seen in", evidence.frames && `${evidence.frames} frames`],
      ["Seen for", seen !== null && seen > 0 ? span(seen) : ""],
      ["Zone", attrs.zone],
      ["Line", attrs.line],
      ["Direction", attrs.direction],
      ["Stayed", attrs.dwell_s && span(attrs.dwell_s)],
      ["Code", attrs.code],
      ["Message", attrs.message],
      ["Epoch, frame", `${event.epoch}, ${event.seq}`],
    ].filter(([, value]) => value !== "—"));
    const made = factList([
      ...Object.entries(provenance).map(([name, value]) => [name, short(value), value]),
      ["event", el("code", {}, event.id)],
    ]);
    return el(
      "div.sl-detail-numbers",
      {},
      event.latency_ms?.total !== undefined && el("section", {}, el("h3", {}, "Latency"), waterfall(event.latency_ms)),
      el("section", {}, el("h3", {}, "Sighting"), facts),
      el("section.sl-made-by", {}, el("h3", {}, "Made by"), made),
    );
  }
}

const short = (value) => (/^[0-9a-f]{24,}$/.test(value) ? `${value.slice(0, 12)}…` : value);

const isOfObject = ({ track_id: track }) => track !== null && track !== undefined;

function missing({ event, no_picture: words }) {
  if (!isOfObject(event)) return "An event of the stream itself: there is no object to show.";
  return words ? `There is no picture of this event: ${words}` : "No picture of this event is kept.";
}

function clip(event) {
  const video = el("video", { src: clipUrl(event.id), controls: true, muted: true, loop: true, playsinline: true, preload: "auto" });
  video.muted = true;
  video.play().catch(() => {}); // a browser may refuse to start it; the controls are there
  const place = el("figure.sl-clip", {}, video);
  video.onerror = () => place.replaceChildren(el("p.sl-note-line", { role: "alert" }, "This clip is no longer kept, or this browser cannot play it."));
  return place;
}
