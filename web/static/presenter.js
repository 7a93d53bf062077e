// Which picture is on the screen, and when. Two modes:
//
// live   the video shows its newest picture at once; the overlay is of that picture if its result is here, else the nearest,
//        marked, until the right one comes.
// exact  a picture is shown when its result is there (or when the wait for it has been too long). The browser's jitter buffer
//        does the greater part of the waiting, for encoded pictures are small; what is left waits as copies (held.js).

import { BOUND_MS, FIRST_BOUND_MS, HeldPictures, grab } from "./held.js";

const SPARE_MS = 30; // the jitter buffer's target above what results take
const STEP_MS = 25;
const WINDOW = 64; // pictures that the target and the shown delay are taken from

export class Presenter {
  #held = new HeldPictures();
  #timeline;
  #stats;
  #onShown;
  #receiver = null;
  #raf = 0;
  #lastStamp;
  #needs = new Float32Array(WINDOW); // ms from a packet's arrival to its result's
  #needed = 0;
  #closed = false;

  /** What is on the screen: {stamp, exact, at, hidden} (`at` page time in ms, `hidden`: nobody saw the page then); null before. */
  shown = null;

  /** `onShown()` is called after each change of `shown`, in the same task that painted the picture. */
  constructor(tile, video, { mode, timeline, stats, onShown }) {
    Object.assign(this, { tile, video });
    this.#timeline = timeline;
    this.#stats = stats;
    this.#onShown = onShown;
    this.setMode(mode);
    this.video.requestVideoFrameCallback?.((now, meta) => this.#onFrame(now, meta));
  }

  close() {
    this.#closed = true;
    this.clear();
    this.#held.free();
  }

  /** The element that shows the picture. */
  get picture() {
    return this.mode === "exact" ? this.canvas : this.video;
  }

  get heldCanvases() {
    return this.#held.canvases;
  }

  setMode(mode) {
    this.mode = mode;
    this.clear();
    this.canvas?.remove();
    this.canvas = null;
    if (mode === "exact") {
      this.canvas = document.createElement("canvas");
      this.canvas.className = "sl-held";
      this.canvas.ariaHidden = "true";
      this.video.after(this.canvas);
      this.ctx = this.canvas.getContext("2d", { alpha: false });
    }
    this.aim();
  }

  setReceiver(receiver) {
    this.#receiver = receiver;
    this.aim();
  }

  /** Nothing is on the screen any more that may count as live: the session has ended, or nobody looked for a while. */
  clear() {
    cancelAnimationFrame(this.#raf);
    this.#raf = 0;
    this.#held.clear();
    this.shown = null;
    this.#lastStamp = undefined;
    this.#needed = 0;
  }

  /** The page went out of sight: what waits would be old when it comes back. */
  hide() {
    this.#held.clear();
  }

  /** A result has come; it may be the one that a picture waits for. */
  onResult() {
    if (this.mode === "exact" && this.#held.size) this.#pumpSoon();
    if (this.shown && !this.shown.exact && this.#timeline.exact(this.shown.stamp)) {
      this.shown.exact = true;
      this.#onShown();
    }
  }

  /** Set the jitter buffer: none in live mode, else as long as results take. Call it now and then. */
  aim() {
    if (!this.#receiver || !("jitterBufferTarget" in this.#receiver)) return;
    const needs = this.#needs.slice(0, Math.min(this.#needed, WINDOW)).sort();
    const most = needs.length ? needs[Math.floor(needs.length * 0.9)] + SPARE_MS : 0;
    const target = this.mode === "exact" ? Math.ceil(Math.min(most, BOUND_MS - SPARE_MS) / STEP_MS) * STEP_MS : 0;
    if (this.#receiver.jitterBufferTarget !== target) this.#receiver.jitterBufferTarget = target;
  }

  #onFrame(now, meta) {
    if (this.#closed) return;
    this.video.requestVideoFrameCallback((at, next) => this.#onFrame(at, next));
    const arrivedAt = Math.min(now, meta.receiveTime ?? now);
    if (this.mode === "exact") this.#take(meta, arrivedAt);
    else this.#live(meta, arrivedAt);
  }

  #live({ rtpTimestamp: stamp }, arrivedAt) {
    if (stamp !== undefined && stamp === this.#lastStamp) return; // the same picture once more is no new one
    this.#lastStamp = stamp;
    if (this.shown) this.#stats[this.shown.exact ? "matched" : "unmatched"]++;
    this.#put(stamp, arrivedAt, stamp !== undefined && Boolean(this.#timeline.exact(stamp)));
  }

  #take(meta, arrivedAt) {
    const { image, stamp, close } = grab(this.video, meta.rtpTimestamp);
    try {
      if (stamp === undefined || stamp === this.#lastStamp) return;
      this.#lastStamp = stamp;
      const size = this.#shownSize();
      const result = this.#timeline.exact(stamp);
      if (result && !this.#held.size) {
        this.#paint(image, size);
        this.#present(stamp, arrivedAt, "match");
        return;
      }
      this.#stats.held++;
      if (this.#held.push(image, stamp, arrivedAt, size)) this.#showHeld(this.#held.oldest());
      this.#pumpSoon();
    } finally {
      close();
    }
  }

  #pumpSoon() {
    this.#raf ||= requestAnimationFrame(() => this.#pump());
  }

  /** Show one picture that is ready; one a screen refresh, so that a burst of results is a quick motion and no jump. */
  #pump() {
    this.#raf = 0;
    if (this.#closed) return;
    const bound = this.shown ? BOUND_MS : FIRST_BOUND_MS;
    const next = this.#held.next(this.#timeline, performance.now(), bound, () => this.#stats.skipped++);
    if (next) this.#showHeld(next);
    if (this.#held.size) this.#pumpSoon();
  }

  #showHeld(held) {
    this.#paint(held.canvas, [held.canvas.width, held.canvas.height]);
    this.#held.done(held);
    this.#present(held.stamp, held.arrivedAt, held.verdict);
  }

  #present(stamp, arrivedAt, found) {
    const exact = found === "match" || Boolean(this.#timeline.exact(stamp));
    this.#stats[exact ? "matched" : "unmatched"]++;
    const result = this.#timeline.exact(stamp);
    if (result?.cameAt) this.#needs[this.#needed++ % WINDOW] = Math.max(0, result.cameAt - arrivedAt);
    this.#put(stamp, arrivedAt, exact);
  }

  #put(stamp, arrivedAt, exact) {
    const at = performance.now();
    this.shown = { stamp, exact, at, hidden: document.hidden };
    this.#stats.delayMs += ((at - arrivedAt) - this.#stats.delayMs) * (this.#stats.framesShown ? 0.1 : 1);
    this.#stats.framesShown++;
    this.#onShown();
  }

  #paint(image, [w, h]) {
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    this.ctx.drawImage(image, 0, 0, w, h);
  }

  /** The size in which a picture is kept and shown: its own, or the tile's where that is smaller. */
  #shownSize() {
    const { videoWidth, videoHeight } = this.video;
    const wide = this.tile.clientWidth * Math.min(window.devicePixelRatio || 1, 2) || videoWidth;
    const part = Math.min(1, wide / videoWidth);
    return [Math.max(1, Math.round(videoWidth * part)), Math.max(1, Math.round(videoHeight * part))];
  }
}

