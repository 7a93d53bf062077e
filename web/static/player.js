// One stream on the screen: the WHEP session, the video, the overlay in step with it, and the truth about whether it is live.

import { Overlay } from "./overlay.js";
import { Timeline } from "./timeline.js";
import { WhepSession } from "./whep.js";

const BACKOFF_MS = [300, 1000, 2000, 4000, 8000];
const STALE_MS = 2000; // no picture for this long is not live
const LAG_SHOWN_MS = 250; // boxes this far behind the picture are announced

export class Player {
  #session = null;
  #attempt = 0;
  #retry = null;
  #clock = null;
  #closed = false;
  #receiver = null;
  #shown = null; // the frame on the screen: {stamp, result, exact}
  #state = null; // the stream's state as the server tells it
  #trouble = "Connecting…";
  #shownAt = 0;
  #frameTimes = [];

  timeline = new Timeline();
  lastResult = null; // the newest that came
  drawn = null; // the one that is drawn now
  stats = { framesDecoded: 0, framesShown: 0, matched: 0, unmatched: 0, packetsLost: 0, freezes: 0, shownFps: 0 };

  /** `tile` holds a video, a canvas and the text elements of the tile template; `layers` is a live Set. */
  constructor(tile, stream, layers) {
    this.tile = tile;
    this.stream = stream;
    this.layers = layers;
    this.video = tile.querySelector("video");
    this.canvas = tile.querySelector("canvas");
    this.overlay = new Overlay(this.canvas);
    this.video.onresize = () => this.#resized();
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(tile);
    this.video.requestVideoFrameCallback?.((now, meta) => this.#onFrame(now, meta));
    this.#clock = setInterval(() => this.#tick(), 500);
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearInterval(this.#clock);
    clearTimeout(this.#retry);
    this.observer.disconnect();
    this.#session?.close();
    this.video.srcObject = null;
  }

  /** The RTP time stamp of the picture on the screen; undefined before the first. */
  get stamp() {
    return this.#shown?.stamp;
  }

  /** What the API last said of this stream; `null` when the server cannot be reached. */
  setState(state) {
    this.#state = state;
    const p95 = Number(state?.latency_p95_ms);
    // frames wait in the browser until their result is here, so that boxes sit on the picture they were made from
    if (this.#receiver && "jitterBufferTarget" in this.#receiver) {
      const target = Math.min(2000, Math.max(150, (Number.isFinite(p95) ? p95 : 0) + 100));
      this.#receiver.jitterBufferTarget = Math.round(target / 25) * 25;
    }
    this.#judge();
  }

  /** Draw the shown frame again, after a layer was switched. */
  redraw() {
    if (this.#shown) this.#draw();
  }

  async #connect() {
    const session = new WhepSession({
      onTrack: (stream, receiver) => this.#onTrack(stream, receiver),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (why) => this.#lost(why),
    });
    this.#session = session;
    try {
      await session.open(`/${encodeURIComponent(this.stream)}/whep`);
    } catch (error) {
      session.close();
      if (error.status === 401) location.assign("/login");
      else if (session === this.#session) this.#lost(error.message);
    }
  }

  #lost(why) {
    if (this.#closed) return;
    this.#trouble = `No connection: ${why}`;
    this.timeline.clear();
    this.#shown = null;
    this.#judge();
    const pause = BACKOFF_MS[Math.min(this.#attempt++, BACKOFF_MS.length - 1)];
    this.#retry = setTimeout(() => this.#connect(), pause * (0.75 + Math.random() / 2));
  }

  #onTrack(stream, receiver) {
    this.#receiver = receiver;
    this.setState(this.#state);
    this.video.srcObject = stream;
    this.video.play().catch(() => {}); // muted video may always start; a closed player must not complain
  }

  #onMessage(message) {
    if (message.t === "origin") this.timeline.setOrigin(message.epoch, message.rtp);
    else if (message.t === "state") this.setState({ ...this.#state, ...message.data });
    else if (message.t === "result") {
      this.lastResult = message.data;
      this.timeline.add(message.data);
      if (this.live && this.#shown && !this.#shown.exact) this.#draw(); // its result may have come after the picture
    }
  }

  #onFrame(now, { rtpTimestamp, presentedFrames }) {
    if (this.#closed) return;
    this.video.requestVideoFrameCallback((at, meta) => this.#onFrame(at, meta));
    if (this.#shown && this.timeline.ready) this.stats[this.#shown.exact ? "matched" : "unmatched"]++;
    this.stats.framesShown = presentedFrames;
    this.#shownAt = performance.now();
    this.#frameTimes.push(this.#shownAt);
    if (this.#trouble) {
      this.#trouble = null;
      this.#attempt = 0;
    }
    this.#shown = { stamp: rtpTimestamp, exact: false };
    this.#draw();
    this.#judge();
  }

  #draw() {
    const { stamp } = this.#shown;
    const known = stamp !== undefined;
    const exact = known ? this.timeline.exact(stamp) : null;
    this.#shown.exact = Boolean(exact);
    const near = exact ? { result: exact, lagMs: 0 } : known ? this.timeline.nearest(stamp) : this.#newest();
    this.#hint(near);
    this.drawn = near?.result ?? null;
    if (!near) return this.overlay.clear();
    const trails = known ? this.timeline.trails(stamp, near.result.epoch) : new Map();
    this.overlay.draw(near.result, { layers: this.layers, trails, sure: Boolean(exact) });
  }

  #newest() {
    return this.timeline.newest && { result: this.timeline.newest, lagMs: null };
  }

  #hint(near) {
    const hint = this.tile.querySelector(".sl-hint");
    const late = near && (near.lagMs === null || near.lagMs > LAG_SHOWN_MS);
    hint.hidden = !late;
    if (late) {
      hint.textContent =
        near.lagMs === null ? "boxes: newest known, not of this picture" : `boxes lag ${Math.round(near.lagMs)} ms`;
    }
  }

  /** Decide whether the tile may look live; if not, dim it and say why. */
  #judge() {
    const why = this.#whyDown();
    this.tile.classList.toggle("sl-down", Boolean(why));
    this.tile.querySelector(".sl-why-title").textContent = why?.title ?? "";
    this.tile.querySelector(".sl-why-text").textContent = why?.text ?? "";
    if (why && why.blank) this.overlay.clear();
    this.live = !why;
  }

  #whyDown() {
    const state = this.#state;
    if (state?.state && state.state !== "RUNNING") {
      const text = [state.error_code, state.error].filter(Boolean).join(": ") || WORDS[state.state] || "";
      return { title: state.state, text, blank: true };
    }
    if (state?.live === false) {
      return { title: "Not live", text: "the worker does not answer; it is being started again", blank: true };
    }
    if (this.#trouble) return { title: "No picture", text: this.#trouble, blank: true };
    const silent = performance.now() - this.#shownAt;
    if (silent > STALE_MS) {
      return { title: "No new picture", text: `the last one is ${Math.round(silent / 1000)} s old` };
    }
    return null;
  }

  async #tick() {
    this.#judge();
    const since = performance.now() - 2000;
    this.#frameTimes = this.#frameTimes.filter((at) => at > since);
    this.stats.shownFps = this.#frameTimes.length / 2;
    if (this.#session?.pc.connectionState !== "connected") return;
    for (const report of (await this.#session.pc.getStats()).values()) {
      if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
      this.stats.framesDecoded = report.framesDecoded ?? 0;
      this.stats.packetsLost = report.packetsLost ?? 0;
      this.stats.freezes = report.freezeCount ?? 0;
    }
  }

  #resized() {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth) this.tile.style.setProperty("--ratio", `${videoWidth} / ${videoHeight}`);
    this.overlay.resize(videoWidth, videoHeight);
    this.redraw();
  }
}

const WORDS = {
  INITIALISING: "its source and model are being made ready",
  RESTARTING: "the source was lost; trying again",
  PAUSED: "paused by its configuration",
  ENDED: "the source came to its end",
};
