// The live event feed: a page of the past, then what happens, within the person's filters; newest on top, never more
// rows than MAX_ROWS. Pictures are asked for only while their row can be seen.

import { listEvents, openEvents } from "./api.js";
import { el, say } from "./dom.js";
import { Filters } from "./filters.js";
import { href } from "./router.js";
import { Thumbnails } from "./thumbnails.js";
import { deedOf, ms, sentenceOf, subjectOf, timeOf } from "./words.js";

const MAX_ROWS = 300;
const PAGE = 100;
const RETRY_MS = 2000;
const BATCH_MS = 300; // a busy wall says a dozen a second: each alone would lay the page out anew
const FRESH_MS = 1400; // a tint that goes at once: one that fades paints the list anew sixty times a second

export class EventFeed {
  #feed = null;
  #turn = 0; // a slow answer to an old filter must not fill the new list
  #rows = new Map(); // id -> {event, row}, newest first in the page; a redelivered event is shown once
  #older = null; // the cursor of what came before the oldest row
  #picked = "";
  #fresh = []; // came, not yet shown
  #batch = null; // the timer while a batch is being gathered

  constructor(root) {
    this.filters = new Filters(() => this.#load());
    this.dot = el("span.sl-dot", { data: { link: "down" }, role: "img" });
    this.list = el("ol.sl-rows");
    this.quiet = el("p.sl-quiet", { hidden: true });
    this.more = el("button.sl-button.sl-older", { type: "button", hidden: true, onclick: () => this.#loadOlder() }, "Older");
    this.scroller = el("div.sl-scroll", { tabindex: 0, role: "region", "aria-label": "Event list" }, this.list, this.quiet, this.more);
    this.thumbnails = new Thumbnails(this.scroller);
    const head = el("div.sl-events-head", {}, el("h2", {}, "Events"), this.dot, this.filters.summary);
    root.replaceChildren(head, this.filters.root, this.scroller);
    this.#load();
  }

  get length() {
    return this.#rows.size;
  }

  /** What the feed knows of an event, or undefined. */
  event(id) {
    return this.#rows.get(id)?.event;
  }

  /** The id beside `id`: `step` 1 is the next older, -1 the next newer. */
  beside(id, step) {
    const ids = [...this.list.children].map((row) => row.dataset.id);
    const at = ids.indexOf(id);
    return at < 0 ? ids[0] : ids[at + step];
  }

  /** Mark the row of the event that is looked at. */
  pick(id) {
    this.#rows.get(this.#picked)?.row.firstChild.removeAttribute("aria-current");
    this.#picked = id;
    const row = this.#rows.get(id)?.row;
    row?.firstChild.setAttribute("aria-current", "true");
    row?.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.#turn++;
    this.#feed?.close();
    this.thumbnails.close();
  }

  async #load() {
    const turn = ++this.#turn;
    this.#feed?.close();
    const asked = this.filters.query();
    let page;
    try {
      page = await listEvents({ ...asked, limit: PAGE });
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#link(false);
      this.#hush(error.status >= 400 && error.status < 500 ? error.message : "");
      setTimeout(() => turn === this.#turn && this.#load(), RETRY_MS);
      return;
    }
    if (turn !== this.#turn) return;
    clearTimeout(this.#batch);
    [this.#batch, this.#fresh] = [null, []];
    this.list.replaceChildren();
    this.#rows.clear();
    this.thumbnails.clear();
    for (const event of page.events) this.#add(event, { last: true });
    this.#older = page.previous;
    this.#tell();
    if (asked.until) return this.#link(true, "past events only");
    this.#feed = openEvents(asked, page.next);
    this.#feed.onopen = () => this.#link(true);
    this.#feed.onerror = () => {
      this.#link(false);
      if (this.#feed.readyState === EventSource.CLOSED) this.#load(); // refused: start over
    };
    this.#feed.onmessage = ({ data }) => this.#came(JSON.parse(data), turn);
  }

  /** The first of a batch is shown at once; what comes right after it, together. */
  #came(event, turn) {
    this.#fresh.push(event);
    if (this.#batch) return;
    const show = () => {
      const events = this.#fresh.splice(0);
      this.#batch = events.length && turn === this.#turn ? setTimeout(show, BATCH_MS) : null;
      if (!this.#batch) return;
      for (const each of events) this.#add(each, { fresh: true });
      this.#trim();
      this.#tell();
    };
    show();
  }

  async #loadOlder() {
    const turn = this.#turn;
    this.more.disabled = true;
    try {
      const page = await listEvents({ ...this.filters.query(), limit: PAGE, before: this.#older });
      if (turn !== this.#turn) return;
      for (const event of page.events) this.#add(event, { last: true });
      this.#older = page.previous;
    } catch (error) {
      this.#hush(error.message);
    }
    this.more.disabled = false;
    this.#tell();
  }

  #add(event, { fresh = false, last = false }) {
    if (this.#rows.has(event.id) || !this.filters.fits(event)) return;
    this.filters.learn(event);
    const row = line(event, fresh);
    this.#rows.set(event.id, { event, row });
    if (event.id === this.#picked) row.firstChild.setAttribute("aria-current", "true");
    if (last) this.list.append(row);
    else this.list.prepend(row);
    if (fresh) setTimeout(() => row.classList.remove("sl-fresh"), FRESH_MS);
    this.thumbnails.watch(row.querySelector(".sl-thumb"), event);
  }

  #trim() {
    while (this.#rows.size > MAX_ROWS) {
      const row = this.list.lastElementChild;
      this.#rows.delete(row.dataset.id);
      this.thumbnails.forget(row.querySelector(".sl-thumb"));
      row.remove();
      this.#older = null; // a gap would be between it and the last row
    }
  }

  #tell() {
    this.#hush(this.length ? "" : this.filters.active ? "Nothing that fits these filters." : "Nothing has happened yet.");
    this.more.hidden = !this.#older || this.length >= MAX_ROWS;
  }

  #hush(text) {
    say(this.quiet, text);
    this.quiet.hidden = !text;
  }

  #link(up, words) {
    this.dot.dataset.link = up ? "up" : "down";
    this.dot.title = words ?? (up ? "new events appear as they happen" : "the feed is broken; trying again");
    this.dot.setAttribute("aria-label", this.dot.title);
  }
}

/** One event as a row that leads to its page. */
function line(event, fresh) {
  const stream = event.kind === "up" || event.kind === "down";
  const deed = stream ? "" : deedOf(event);
  const link = el(
    "a.sl-row",
    { href: href("events", event.id), title: sentenceOf(event) },
    el("span.sl-thumb", { "aria-hidden": "true", data: { kind: event.kind } }),
    el(
      "span.sl-row-main",
      {},
      el("span.sl-row-what", {}, el("b.sl-kind-word", {}, event.kind), " ", el("span", {}, subjectOf(event) || "stream")),
      el("span.sl-row-where", {}, event.stream, deed && el("i", {}, deed)),
    ),
    el(
      "span.sl-row-when",
      {},
      el("time", { datetime: new Date(event.wall_ns / 1e6).toISOString() }, timeOf(event.wall_ns)),
      event.latency_ms?.total !== undefined && el("span", { title: "capture to event" }, ms(event.latency_ms.total)),
    ),
  );
  return el(fresh ? "li.sl-fresh" : "li", { data: { id: event.id, kind: event.kind } }, link);
}
