// The health page: the worker's heartbeat, and each stream with its rate, delay, losses by reason, and how viewers get it.

import { showAccuracy } from "./accuracy.js";
import { el, factList } from "./dom.js";
import { ledgerOf } from "./ledger.js";
import { href } from "./router.js";
import { age, count, dash, fps, ms, percent, span } from "./words.js";
import { sourceOf } from "./vitals.js";

const KEEP = 120; // points of a curve: two minutes
const [WIDE, HIGH] = [120, 28];

export class HealthPage {
  #past = new Map(); // stream -> {fps: [], p95: []}

  constructor(root) {
    this.root = root;
  }

  /** Remember what is known now, whether or not the page is shown, so that its curves are there when it is opened. */
  remember(streams) {
    const names = new Set(streams.map(({ name }) => name));
    for (const name of this.#past.keys()) if (!names.has(name)) this.#past.delete(name);
    for (const { name, state } of streams) {
      const past = this.#past.get(name) ?? { fps: [], p95: [] };
      past.fps = [...past.fps, state.fps].slice(-KEEP);
      past.p95 = [...past.p95, state.latency_p95_ms].slice(-KEEP);
      this.#past.set(name, past);
    }
  }

  show(streams, worker) {
    const running = streams.filter(({ state }) => state.live).length;
    const lost = streams.reduce((sum, { state }) => sum + ledgerOf(state.ledger).total, 0);
    const watched = streams.reduce((sum, { viewers }) => sum + (viewers ?? 0), 0);
    const total = streams.reduce((sum, { state }) => sum + (state.live ? (state.fps ?? 0) : 0), 0);
    const tiles = [
      ["Worker", worker?.alive ? "alive" : "silent", worker?.alive ? `heartbeat ${age(worker.heartbeat_age_s)}` : beat(worker), worker?.alive ? "sl-good" : "sl-bad"],
      ["Streams live", `${running} of ${streams.length}`, "", running < streams.length ? "sl-warn" : "sl-good"],
      ["Analysed", fps(total), "all streams together"],
      ["Not analysed", count(lost), "frames, since their start", lost ? "sl-warn" : ""],
      ["Viewers", String(watched), "browsers on this server"],
      ["Backend", worker?.backend ?? "—", "what the models run on"],
    ];
    this.#patch(
      el("div.sl-page-head", {}, el("h2", {}, "Health")),
      el("div.sl-tiles", {}, tiles.map(([name, value, below, mark]) => el("dl.sl-stat", {}, el("dt", {}, name), el("dd", { class: mark }, value), below && el("small", {}, below)))),
      el("div.sl-cards", {}, streams.map((stream) => this.#card(stream))),
    );
    for (const stream of streams) {
      const place = this.root.querySelector(`[data-card="${CSS.escape(stream.name)}"] .sl-accuracy`);
      if (place) showAccuracy(place, stream);
    }
  }

  hide() {
    this.root.replaceChildren();
  }

  #patch(...parts) {
    const at = this.root.scrollTop;
    const marked = getSelection()?.toString() && this.root.contains(getSelection().anchorNode);
    if (marked) return; // somebody copies a number: wait with the next one
    const focused = this.root.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    this.root.replaceChildren(...parts);
    this.root.scrollTop = at;
    if (focused) this.root.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  #card(stream) {
    const { name, state: s, viewers } = stream;
    const past = this.#past.get(name) ?? { fps: [], p95: [] };
    const down = s.state !== "RUNNING" || !s.live;
    return el(
      "article.sl-card",
      { data: { card: name, state: s.state } },
      el("header", {}, el("span.sl-dot", { data: { state: s.state } }), el("h3", {}, el("a", { href: href("camera", name) }, name)), el("b", { class: `sl-state-${s.state.toLowerCase()}` }, s.state.toLowerCase()), el("span.sl-soft", {}, dash(s.last_frame_age_s, (seconds) => `frame ${age(seconds)}`).replace("—", "no frame yet"))),
      down && el("p.sl-note-line.sl-bad-line", {}, [s.error_code, s.error].filter(Boolean).join(": ") || (s.live ? s.state.toLowerCase() : "the worker does not answer")),
      past.fps.some(isKnown) && el("div.sl-curves", {}, curve("Analysed", fps(s.fps), past.fps), curve("Latency p95", ms(s.latency_p95_ms), past.p95, dash(s.latency_p50_ms, (p50) => `p50 ${ms(p50)}`).replace("—", ""))),
      account(s.ledger),
      factList([
        ["Viewers", dash(viewers, String)],
        ["Viewer video", viewerVideo(s)],
        ["Source", sourceOf(stream)],
        ["Model", stream.model],
        ["Backend", s.backend],
        ["Connected", s.epoch && (s.epoch === 1 ? "once" : `${count(s.epoch)} times`), "epochs: grows by one at every (re)connect"],
      ]),
      el("section.sl-accuracy", { "aria-label": `Accuracy of ${name}`, hidden: true }),
    );
  }
}

const isKnown = (value) => value !== null && value !== undefined;
const beat = (worker) => (worker?.heartbeat_age_s === null || worker?.heartbeat_age_s === undefined ? "none has started yet" : `last heartbeat ${span(worker.heartbeat_age_s)} ago`);

function viewerVideo({ viewer_video: how, viewer_video_why: why }) {
  if (how === undefined || how === null) return "";
  return how ? [how, why].filter(Boolean).join(": ") : "nobody watches";
}

function account(ledger) {
  if (!ledger?.in && !ledger?.emitted) return "";
  const { entered, parts } = ledgerOf(ledger);
  const whole = Math.max(1, parts.reduce((sum, part) => sum + part.count, 0));
  const bar = el("div.sl-ledger", { role: "img", "aria-label": parts.map((part) => `${part.words} ${part.count}`).join(", ") });
  for (const part of parts) {
    const piece = el("span", { data: { fate: part.name.split(/[:.]/)[0] }, title: `${part.words}: ${part.count} (${percent(part.count / whole)})` });
    piece.style.flexGrow = part.count / whole;
    bar.append(piece);
  }
  const legend = parts.map((part) => el("li", { data: { fate: part.name.split(/[:.]/)[0] } }, `${part.words} `, el("b", {}, count(part.count))));
  return el("div.sl-account", {}, bar, el("ul", {}, el("li", {}, "frames ", el("b", {}, count(entered))), legend));
}

function curve(name, value, past, below = "") {
  const known = past.filter(isKnown);
  const most = Math.max(1e-9, ...known) * 1.15;
  const step = WIDE / (KEEP - 1);
  const left = WIDE - (past.length - 1) * step;
  const points = past.map((each, i) => (!isKnown(each) ? "" : `${(left + i * step).toFixed(1)},${(HIGH - (each / most) * HIGH).toFixed(1)}`));
  return el(
    "dl.sl-curve",
    {},
    el("dt", {}, name),
    el("dd", {}, value, below && el("small", {}, below)),
    el("svg", { viewBox: `0 -1 ${WIDE} ${HIGH + 2}`, preserveAspectRatio: "none", "aria-hidden": "true" }, el("polyline", { points: points.filter(Boolean).join(" ") })),
  );
}
