// Small pictures of what an event is about, which the server cuts out of its frame: asked for only while the row is on
// the screen, few at a time, and for a while not where a camera keeps none of such events. A picture is written a moment
// after its event, so one that is missing from a fresh row is asked for once more.

import { thumbnailUrl } from "./api.js";
import { el } from "./dom.js";

const AT_ONCE = 3;
const WAIT_MS = 250; // a row that is scrolled past costs nothing
const FRESH_S = 10;
const AGAIN_MS = 3000;
const MISSES = 5; // so many missing pictures of a camera's events of one kind, and it is not asked for a while
const PAUSE_MS = 60_000;

export class Thumbnails {
  #events = new WeakMap(); // element -> event
  #waiting = new Map(); // element -> timer
  #queue = [];
  #loading = 0;
  #again = new WeakSet(); // elements that were asked for twice
  #missed = new Map(); // stream and kind -> {count, until}

  constructor(scroller) {
    this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#seen(entry)), { root: scroller });
  }

  watch(thumb, event) {
    if (event.track_id === null || event.track_id === undefined) return; // a stream's own event shows no object
    this.#events.set(thumb, event);
    this.observer.observe(thumb);
  }

  forget(thumb) {
    this.observer.unobserve(thumb);
    clearTimeout(this.#waiting.get(thumb));
    this.#waiting.delete(thumb);
  }

  clear() {
    this.observer.disconnect();
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
    this.#queue = [];
  }

  close() {
    this.clear();
  }

  #seen({ target, isIntersecting }) {
    if (!isIntersecting) {
      clearTimeout(this.#waiting.get(target));
      this.#waiting.delete(target);
      this.#queue = this.#queue.filter((each) => each !== target);
    } else if (!this.#waiting.has(target)) {
      const timer = setTimeout(() => {
        this.#queue.push(target);
        this.#next();
      }, WAIT_MS);
      this.#waiting.set(target, timer);
    }
  }

  #next() {
    while (this.#loading < AT_ONCE && this.#queue.length) {
      const thumb = this.#queue.shift();
      const event = this.#events.get(thumb);
      if (!thumb.isConnected || this.#isPaused(event)) continue;
      this.forget(thumb);
      this.#loading++;
      const ended = (came) => {
        this.#loading--;
        if (came || !this.#retry(thumb, event)) this.#judge(event, came);
        this.#next();
      };
      small(event).then(
        (image) => {
          thumb.replaceChildren(image);
          ended(true);
        },
        () => ended(false),
      );
    }
  }

  #retry(thumb, event) {
    if (this.#again.has(thumb) || Date.now() / 1000 - event.wall_ns / 1e9 > FRESH_S) return false;
    this.#again.add(thumb);
    setTimeout(() => thumb.isConnected && this.watch(thumb, event), AGAIN_MS);
    return true;
  }

  #isPaused({ stream, kind }) {
    return (this.#missed.get(`${stream} ${kind}`)?.until ?? 0) > performance.now();
  }

  #judge({ stream, kind }, came) {
    const key = `${stream} ${kind}`;
    const count = came ? 0 : (this.#missed.get(key)?.count ?? 0) + 1;
    this.#missed.set(key, { count, until: count >= MISSES ? performance.now() + PAUSE_MS : 0 });
  }
}

/** An image of what the event is about; rejected where none is kept. */
async function small(event) {
  const image = el("img", { alt: "", src: thumbnailUrl(event.id) });
  await image.decode();
  return image;
}
