// One stream's vital numbers under its picture: what the worker says of it beside what this browser sees.

import { el } from "./dom.js";
import { ledgerOf } from "./ledger.js";
import { age, count, dash, fps, ms } from "./words.js";

/** Fill `root` for `stream` (one item of GET /api/v1/streams; none clears it); `player` is its player or undefined. */
export function showVitals(root, stream, player) {
  if (!stream) return root.replaceChildren();
  const s = stream.state;
  const lost = ledgerOf(s.ledger);
  const cells = [
    ["State", s.state, s.error ?? "", `sl-state-${s.state.toLowerCase()}`],
    ["Analysed", fps(s.fps), "frames analysed per second by the worker"],
    ["Shown", player?.live ? fps(player.stats.shownFps) : "—", "pictures per second in this browser"],
    ["Latency p50, p95", `${dash(s.latency_p50_ms, (v) => Math.round(v))}, ${ms(s.latency_p95_ms)}`, "capture to result: half of the frames are faster, and 95 of 100"],
    ["Not analysed", s.ledger ? count(lost.total) : "—", lost.words || "frames that were given up, by reason"],
    ["In step", inStep(player), "pictures shown with the boxes made from exactly that picture"],
    ["Last frame", age(s.last_frame_age_s), "age of the last analysed frame", s.last_frame_age_s > 2 ? "sl-bad" : ""],
    ["Viewers", dash(stream.viewers, String), "browsers watching this stream"],
    ["Source", sourceOf(stream), stream.url],
    ["Model", stream.model, [`task ${stream.task}`, s.backend].filter(Boolean).join(", ")],
  ];
  // cells are updated in place so that a hovered title or a selection survives the next poll
  if (root.dataset.stream !== stream.name || root.children.length !== cells.length) {
    root.dataset.stream = stream.name;
    root.replaceChildren(...cells.map(cell));
  }
  cells.forEach(([, value, title, mark], i) => {
    const [, dd] = root.children[i].children;
    if (dd.textContent !== value) dd.textContent = value;
    root.children[i].title = title ?? "";
    dd.className = mark ?? "";
  });
}

/** How many are in each zone now, and how many crossed each line. */
export function showRegions(root, stream) {
  const { zone_objects: zones = {}, line_crossings: lines = {} } = stream?.state ?? {};
  const known = stream ? [...(stream.zones ?? []), ...(stream.lines ?? [])].map(({ name }) => name) : [];
  const words = known.flatMap((name) => {
    if (name in zones) return [[name, `${zones[name]} inside`]];
    return name in lines ? [[name, `${lines[name].in} in, ${lines[name].out} out`]] : [];
  });
  root.hidden = !words.length;
  const said = JSON.stringify(words);
  if (root.dataset.said === said) return;
  root.dataset.said = said;
  root.replaceChildren(...words.map(([name, text]) => el("span", {}, `${name} `, el("b", {}, text))));
}

function cell([name]) {
  const box = document.createElement("dl");
  box.append(document.createElement("dt"), document.createElement("dd"));
  box.firstChild.textContent = name;
  return box;
}

function inStep(player) {
  const { matched = 0, unmatched = 0 } = player?.stats ?? {};
  return matched + unmatched ? `${((100 * matched) / (matched + unmatched)).toFixed(1)} %` : "—";
}

/** `h264 640×360`: what comes from the source. */
export function sourceOf({ source, state: { codec, width, height } }) {
  return [codec || source, width && height ? `${width}×${height}` : ""].filter(Boolean).join(" ");
}
