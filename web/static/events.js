// The live event table: a page of the past, then the feed; newest on top, never more than a screenful of memory.

import { listEvents, openEvents } from "./api.js";

const MAX_ROWS = 300;

export class EventTable {
  #feed = null;
  #turn = 0; // a slow answer to an old filter must not fill the new table
  #seen = new Set(); // a redelivered event is shown once

  constructor(root, onPick) {
    this.rows = root.querySelector("tbody");
    this.quiet = root.querySelector(".sl-quiet");
    this.dot = root.querySelector(".sl-dot");
    this.onPick = onPick;
  }

  get length() {
    return this.rows.rows.length;
  }

  /** Show events of `stream` and `kind` (empty: all), from now on and the last ones. */
  async show({ stream, kind }) {
    const turn = ++this.#turn;
    this.#feed?.close();
    let page;
    try {
      page = await listEvents({ stream, kind, limit: 100 });
    } catch {
      if (turn === this.#turn) setTimeout(() => turn === this.#turn && this.show({ stream, kind }), 2000);
      return this.#link(false);
    }
    if (turn !== this.#turn) return;
    this.rows.replaceChildren();
    this.#seen.clear();
    for (const event of page.events.slice().reverse()) this.#add(event, false);
    this.quiet.hidden = this.length > 0;
    this.#feed = openEvents({ stream, kind }, page.next);
    this.#feed.onopen = () => this.#link(true);
    this.#feed.onerror = () => {
      this.#link(false);
      if (this.#feed.readyState === EventSource.CLOSED) this.show({ stream, kind }); // refused: start over
    };
    this.#feed.onmessage = ({ data }) => this.#add(JSON.parse(data), true);
  }

  close() {
    this.#turn++;
    this.#feed?.close();
  }

  #link(up) {
    this.dot.dataset.link = up ? "up" : "down";
    this.dot.title = up ? "event feed is live" : "event feed is broken; trying again";
  }

  #add(event, fresh) {
    if (this.#seen.has(event.id)) return;
    this.#seen.add(event.id);
    const row = this.rows.insertRow(0);
    row.dataset.kind = event.kind;
    row.dataset.id = event.id;
    if (fresh) row.className = "sl-fresh";
    const { score, code } = event.attrs;
    row.title = [event.id, code, score !== undefined && `score ${score.toFixed(2)}`].filter(Boolean).join("\n");
    const at = new Date(event.wall_ns / 1e6);
    const cells = [
      at.toLocaleTimeString([], { hour12: false }),
      event.stream,
      event.kind,
      what(event),
      latency(event.latency_ms),
    ];
    for (const text of cells) row.insertCell().textContent = text;
    row.cells[0].title = at.toLocaleString();
    if (event.track_id === null || event.track_id === undefined) {
      row.deleteCell(4); // a stream's event has words instead of a latency
      row.cells[3].colSpan = 2;
    } else row.cells[4].className = "sl-num";
    row.onclick = () => this.onPick(event.stream);
    while (this.rows.rows.length > MAX_ROWS) {
      this.#seen.delete(this.rows.lastElementChild.dataset.id);
      this.rows.lastElementChild.remove();
    }
    this.quiet.hidden = true;
  }
}

function what({ attrs, track_id: track }) {
  if (track !== null && track !== undefined) {
    const does = attrs.action ? `: ${attrs.action.replaceAll("_", " ")}` : "";
    return `${attrs.label ?? "object"} ${track}${does}`;
  }
  return attrs.message || attrs.code || "";
}

function latency(parts) {
  const total = parts?.total;
  return total === undefined ? "" : `${Math.round(total)} ms`;
}
