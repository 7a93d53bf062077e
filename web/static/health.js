// The health of one stream, what the worker says of it beside what this browser sees; and of all of them, a line each.

const dash = (value, text) => (value === null || value === undefined || Number.isNaN(value) ? "—" : text(value));
const ms = (value) => dash(value, (v) => `${Math.round(v)} ms`);
const fps = (value) => dash(value, (v) => `${v.toFixed(1)} fps`);

function age(seconds) {
  return dash(seconds, (s) => (s < 1.5 ? "now" : s < 90 ? `${Math.round(s)} s ago` : `${Math.round(s / 60)} min ago`));
}

/** Fill `root` for `stream` (one item of GET /api/v1/streams; none clears it); `player` is its player or undefined. */
export function showHealth(root, stream, player) {
  if (!stream) return root.replaceChildren();
  const s = stream.state;
  const drops = dropped(s.ledger);
  const cells = [
    ["State", s.state, s.error ?? "", `sl-state-${s.state.toLowerCase()}`],
    ["Analysed", fps(s.fps), "frames analysed per second by the worker"],
    ["Shown", player?.live ? fps(player.stats.shownFps) : "—", "pictures per second in this browser"],
    ["Latency p50", ms(s.latency_p50_ms), "capture to result, median"],
    ["Latency p95", ms(s.latency_p95_ms), "capture to result, 95 of 100 frames are faster"],
    ["Dropped", drops.text, drops.why],
    ["In step", inStep(player), "pictures shown with the boxes made from exactly that picture"],
    ["Last frame", age(s.last_frame_age_s), "age of the last analysed frame", s.last_frame_age_s > 2 ? "sl-bad" : ""],
    ["Epoch", dash(s.epoch, String), "grows by one at every (re)connect"],
    ["Viewers", dash(stream.viewers, String), "browsers watching this stream"],
    ["Source", source(s), stream.url],
    ["Model", [stream.model, s.backend].filter(Boolean).join(" · ") || "—", `task ${stream.task}`],
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

/** Fill `root` with one line per stream: what a person looks for under the wall. */
export function showOverview(root, streams, onPick) {
  root.dataset.stream = "";
  const table = document.createElement("table");
  const line = (names) => {
    const row = table.insertRow();
    for (const name of names) row.insertCell().textContent = name;
    return row;
  };
  line(["Stream", "State", "Analysed", "Latency p95", "Dropped", "Last frame", "Viewers"]);
  for (const { name, state: s, viewers } of streams) {
    const drops = dropped(s.ledger);
    const row = line([name, s.state, fps(s.fps), ms(s.latency_p95_ms), drops.text, age(s.last_frame_age_s), dash(viewers, String)]);
    row.cells[1].className = `sl-state-${s.state.toLowerCase()}`;
    row.title = s.error ?? drops.why;
    row.onclick = () => onPick(name);
  }
  root.replaceChildren(table);
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

function dropped(ledger) {
  const reasons = Object.entries(ledger ?? {}).filter(([name]) => /^(dropped|failed)/.test(name));
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  const list = Object.entries(ledger ?? {}).map(([name, count]) => `${name} ${count}`);
  return { text: ledger ? String(total) : "—", why: list.join(", ") || "frames that were not analysed" };
}

function source({ codec, width, height }) {
  return [codec, width && height ? `${width}×${height}` : ""].filter(Boolean).join(" ") || "—";
}
