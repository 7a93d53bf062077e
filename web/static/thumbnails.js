// Small pictures of what an event is about: cut out of its evidence picture, asked for only while the row is on the
// screen, few at a time, and for a while not where a camera keeps none of such events. A picture is written a moment
// after its event, so one that is missing from a fresh row is asked for once more.

import { pictureUrl } from "./api.js";
import { el } from "./dom.js";

const AT_ONCE = 3;
const WAIT_MS = 250; // a row that is scrolled past costs nothing
const FRESH_S = 10;
const AGAIN_MS = 3000;
const MISSES = 5; // so many missing pictures of a camera's events of one kind, and it is not asked for a while
const PAUSE_MS = 60_000;
const MARGIN = 0.35; // of the box, around it

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

const SIZE = [104, 78]; // px, twice what a row shows
const canvas = new OffscreenCanvas(...SIZE);

/** An image of what the event is about. Whole pictures, decoded for each row of a long list, take hundreds of megabytes. */
async function small(event) {
  const answer = await fetch(pictureUrl(event.id), { cache: "no-store" }); // what is kept is the small one
  if (!answer.ok) throw new Error(`no picture: ${answer.status}`);
  const whole = await createImageBitmap(await answer.blob());
  const [ctx, part] = [canvas.getContext("2d", { alpha: false }), cut(event, whole.width, whole.height)];
  ctx.imageSmoothingQuality = "medium";
  ctx.drawImage(whole, ...part, 0, 0, ...SIZE);
  whole.close();
  const url = URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 }));
  try {
    const image = el("img", { alt: "", src: url });
    await image.decode();
    return image;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The part of a w x h picture, [left, top, wide, high] (4:3), that shows the event's box with a margin around it. */
function cut({ attrs: { box_xyxy: box, source_hw: size } = {} }, w, h) {
  if (!box || !size) {
    const [wide, high] = [Math.min(w, (h * 4) / 3), Math.min(h, (w * 3) / 4)];
    return [(w - wide) / 2, (h - high) / 2, wide, high];
  }
  const [x1, y1, x2, y2] = box.map((value, i) => (value * (i % 2 ? h : w)) / (i % 2 ? size[0] : size[1]));
  let wide = Math.max((x2 - x1) * (1 + 2 * MARGIN), (y2 - y1) * (1 + 2 * MARGIN) * (4 / 3), w / 12);
  wide = Math.min(wide, w, (h * 4) / 3);
  const high = (wide * 3) / 4;
  const left = Math.min(Math.max(0, (x1 + x2 - wide) / 2), w - wide);
  return [left, Math.min(Math.max(0, (y1 + y2 - high) / 2), h - high), wide, high];
}
