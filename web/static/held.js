// Pictures that wait for their result, oldest first, and which of them may be shown now. Bounded in time, number and pixels.
//
// The pictures are copied: to hold the decoder's own frames would starve it. Copies have the size they are shown in, and the
// canvases are used again, so holding costs the same memory for ever.

export const BOUND_MS = 1000; // from the packet's arrival; a picture whose result is later than that is shown without it
export const FIRST_BOUND_MS = 100; // while nothing is on the screen: a person waits, and its boxes may still come
const MOST_PICTURES = 32;
const MOST_PIXELS = 24e6;

/** What becomes of a held picture: "match" (its result is here), "skip" (it was never analysed), "late", or "wait". */
export function verdict({ stamp, arrivedAt }, timeline, now, boundMs) {
  if (timeline.exact(stamp)) return "match";
  if (timeline.passed(stamp)) return "skip";
  return now - arrivedAt >= boundMs ? "late" : "wait";
}

export class HeldPictures {
  #queue = []; // {canvas, stamp, arrivedAt}
  #spare = [];

  get size() {
    return this.#queue.length;
  }

  /** Canvases that exist, in use or not. */
  get canvases() {
    return this.#queue.length + this.#spare.length;
  }

  /** Copy `image` at [w, h]. True if there was no room: the oldest must then be shown, late or not. */
  push(image, stamp, arrivedAt, [w, h]) {
    const canvas = this.#spare.pop() ?? new OffscreenCanvas(w, h);
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    canvas.getContext("2d", { alpha: false }).drawImage(image, 0, 0, w, h);
    this.#queue.push({ canvas, stamp, arrivedAt });
    return this.#queue.length >= Math.max(4, Math.min(MOST_PICTURES, Math.floor(MOST_PIXELS / (w * h))));
  }

  /**
   * The next picture to show: {canvas, stamp, arrivedAt, verdict}, or null while all wait. `skipped` is called for each that
   * is passed over. Give its canvas back with `done`.
   */
  next(timeline, now, boundMs, skipped) {
    while (this.#queue.length) {
      const head = this.#queue[0];
      const found = verdict(head, timeline, now, boundMs);
      if (found === "wait") return null;
      this.#queue.shift();
      if (found !== "skip") return { ...head, verdict: found };
      this.done(head);
      skipped();
    }
    return null;
  }

  /** The oldest, whatever its verdict. */
  oldest() {
    const head = this.#queue.shift();
    return head && { ...head, verdict: "late" };
  }

  done({ canvas }) {
    if (this.canvases < MOST_PICTURES) this.#spare.push(canvas);
  }

  clear() {
    for (const held of this.#queue.splice(0)) this.done(held);
  }

  /** Forget the spare canvases too. */
  free() {
    this.#queue = [];
    this.#spare = [];
  }
}

/**
 * The picture that a video element shows now and its RTP stamp: {image, stamp, close}. Where the browser can, both come from
 * one frame object, so that they cannot be of two pictures; else from the element and the callback.
 */
export function grab(video, fallbackStamp) {
  if (typeof VideoFrame === "function") {
    try {
      const frame = new VideoFrame(video);
      const stamp = frame.metadata?.().rtpTimestamp;
      if (stamp !== undefined) return { image: frame, stamp, close: () => frame.close() };
      frame.close();
    } catch {
      // no frame yet, or a browser that makes none of a stream
    }
  }
  return { image: video, stamp: fallbackStamp, close: () => {} };
}
