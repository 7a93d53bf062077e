// One stream on the screen: the WHEP session, the picture and the overlay in step with it, and the truth about whether it is
// live.
//
// `new Player(tile, stream, layers, {mode})`; on the tile it says `sl-object` when a drawn object is clicked
// (detail {stream, track_id, object, stamp}).

import { pauseMs, troubleOf, whyDown } from "./liveness.js";
import { Overlay, objectAt, pictureXy } from "./overlay.js";
import { Presenter } from "./presenter.js";
import { Timeline } from "./timeline.js";
import { WhepSession } from "./whep.js";

const LAG_SHOWN_MS = 250; // boxes this far behind the picture are announced
const DELAY_SHOWN_MS = 50;
const HINT_MS = 500; // how often the number in a hint changes: a new text for each picture costs more than the picture

export class Player {
  #session = null;
  #attempt = 0;
  #retry = null;
  #clock = null;
  #closed = new AbortController();
  #state = null; // the stream's state as the server tells it
  #trouble = { title: "Connecting…", text: "" };
  #frameTimes = [];
  #began = performance.now();
  #attention = null;
  #hinted = { late: false, at: -Infinity };
  #inside = null; // zone name -> how many are in it
  #regions = { zones: [], lines: [] };

  timeline = new Timeline();
  lastResult = null; // the newest that came
  drawn = null; // the one that is drawn now
  live = false;

  /**
   * Counts since the start. `results` came on the channel. Of the pictures shown, `matched` carried the result made from them, `unmatched` did not; `held`
   * had to wait; `skipped` were never analysed and so are not shown in exact mode. `delayMs` packet to screen, smoothed;
   * `firstPictureMs` from construction, i.e. the click, to the first picture.
   */
  stats = {
    ...{ framesDecoded: 0, framesShown: 0, matched: 0, unmatched: 0, held: 0, skipped: 0, shownFps: 0 },
    ...{ results: 0, packetsLost: 0, freezes: 0, delayMs: 0, firstPictureMs: null, connects: 0 },
  };

  /** `tile` holds a video, a canvas and the text elements of the tile template; `layers` is a live Set. */
  constructor(tile, stream, layers, { mode = "exact" } = {}) {
    this.tile = tile;
    this.stream = stream;
    this.layers = layers;
    this.video = tile.querySelector("video");
    this.overlay = new Overlay(tile.querySelector("canvas:not(.sl-held)"));
    const { timeline, stats } = this;
    this.presenter = new Presenter(tile, this.video, { mode, timeline, stats, onShown: () => this.#onShown() });
    this.video.onresize = () => this.#resized();
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(tile);
    this.#listen();
    this.#clock = setInterval(() => this.#tick(), 500);
    this.#judge();
    this.#connect();
  }

  close() {
    this.#closed.abort();
    clearInterval(this.#clock);
    clearTimeout(this.#retry);
    this.observer.disconnect();
    this.presenter.close();
    this.#session?.close();
    this.video.srcObject = null;
  }

  /** The RTP time stamp of the picture on the screen; undefined before the first. */
  get stamp() {
    return this.presenter.shown?.stamp;
  }

  /** The element that shows the picture now: the video, or in exact mode a canvas. */
  get picture() {
    return this.presenter.picture;
  }

  get mode() {
    return this.presenter.mode;
  }

  setMode(mode) {
    if (mode === this.mode) return;
    this.presenter.setMode(mode);
    this.#delay();
  }

  /** What the API last said of this stream; `null` when the server cannot be reached. */
  setState(state) {
    this.#state = state;
    if (state?.zone_objects !== undefined) this.#setInside(counts(state.zone_objects)); // not every answer tells it
    this.#judge();
  }

  /** The same counts told again are the same object: else the whole overlay would be drawn anew for nothing. */
  #setInside(inside) {
    if (JSON.stringify(inside) !== JSON.stringify(this.#inside)) this.#inside = inside;
  }

  /** Draw these (as the API gives them, in fractions of the picture) as layer `zones`. */
  setZones(zones, lines) {
    this.#regions = { zones: zones ?? [], lines: lines ?? [] };
    this.redraw();
  }

  /** Draw a heat map {size_hw: [h, w], values: 0..255 row by row} as layer `attention`; null takes it away. */
  setAttention(attention) {
    this.#attention = attention;
    this.redraw();
  }

  /** Mark one object for as long as it is there; null for none. */
  select(trackId) {
    this.overlay.selected = trackId;
    this.redraw();
  }

  /** Draw the shown picture's overlay again, after a layer was switched. */
  redraw() {
    if (this.presenter.shown) this.#draw();
  }

  async #connect() {
    const session = new WhepSession({
      onTrack: (stream, receiver) => this.#onTrack(stream, receiver),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (why) => session === this.#session && this.#lost(why),
    });
    this.#session = session;
    this.#retry = null;
    this.stats.connects++;
    try {
      await session.open(`/${encodeURIComponent(this.stream)}/whep`);
    } catch (error) {
      session.close();
      if (error.status === 401) location.assign("/login");
      else if (session === this.#session) this.#lost(error.message, error.status);
    }
  }

  #lost(why, status = 0) {
    if (this.#closed.signal.aborted) return;
    const pause = pauseMs(this.#attempt++, status);
    this.#trouble = troubleOf(why, status, pause);
    this.timeline.clear();
    this.presenter.clear();
    this.#judge();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), pause);
  }

  #onTrack(stream, receiver) {
    this.presenter.setReceiver(receiver);
    this.video.srcObject = stream;
    this.video.play().catch(() => {}); // muted video may always start; a closed player must not complain
  }

  #onMessage(message) {
    if (message.t === "origin") this.timeline.setOrigin(message.epoch, message.rtp);
    else if (message.t === "state") this.setState({ ...this.#state, ...message.data });
    else if (message.t === "result") {
      this.stats.results++;
      message.data.cameAt = performance.now();
      this.lastResult = message.data;
      this.timeline.add(message.data);
    }
    this.presenter.onResult();
  }

  #onShown() {
    const { at } = this.presenter.shown;
    this.stats.firstPictureMs ??= at - this.#began;
    this.#frameTimes.push(at);
    this.#trouble = null;
    this.#attempt = 0;
    this.#draw();
    this.#judge();
  }

  #draw() {
    const { stamp, exact } = this.presenter.shown;
    const known = stamp !== undefined;
    const near = exact
      ? { result: this.timeline.exact(stamp), lagMs: 0 }
      : known
        ? this.timeline.nearest(stamp)
        : this.timeline.newest && { result: this.timeline.newest, lagMs: null };
    this.drawn = near?.result ?? null;
    this.#hint(near);
    this.overlay.draw(this.drawn, {
      layers: this.layers,
      trails: known && this.drawn ? this.timeline.trails(stamp, this.drawn.epoch) : new Map(),
      sure: exact,
      regions: this.#regions,
      inside: this.#inside,
      attention: this.#attention,
    });
  }

  #hint(near) {
    const late = Boolean(near) && (near.lagMs === null || near.lagMs > LAG_SHOWN_MS);
    const now = performance.now();
    if (late === this.#hinted.late && (!late || now - this.#hinted.at < HINT_MS)) return;
    this.#hinted = { late, at: now };
    const text = near?.lagMs === null ? "boxes: newest known, not of this picture" : `boxes lag ${Math.round(near?.lagMs)} ms`;
    say(this.tile.querySelector(".sl-hint"), late ? text : "");
  }

  /** How long pictures are held back, on the tile. */
  #delay() {
    const waits = this.mode === "exact" && this.live && this.stats.delayMs >= DELAY_SHOWN_MS;
    const delay = this.tile.querySelector(".sl-delay") ?? this.#newDelay();
    say(delay, waits ? `exact · +${Math.round(this.stats.delayMs / 10) * 10} ms` : "");
  }

  #newDelay() {
    const delay = document.createElement("span");
    delay.className = "sl-delay";
    delay.title = "pictures are held until their result is there";
    this.tile.append(delay);
    return delay;
  }

  /** Decide whether the tile may look live; if not, dim it and say why. */
  #judge() {
    const { shown } = this.presenter;
    const silentMs = shown ? performance.now() - shown.at : Infinity;
    const trouble = this.#trouble ?? (shown ? null : { title: "No picture", text: "waiting for the first one" });
    const why = whyDown({ state: this.#state, trouble, silentMs, returning: shown?.hidden || this.#wasAway });
    this.tile.classList.toggle("sl-down", Boolean(why));
    say(this.tile.querySelector(".sl-why-title"), why?.title ?? "");
    say(this.tile.querySelector(".sl-why-text"), why?.text ?? "");
    if (why?.blank) {
      this.overlay.clear();
      this.drawn = null;
    } else if (!this.live && shown && !why) this.#draw(); // it was blank and the same picture counts again
    this.live = !why;
  }

  get #wasAway() {
    return document.hidden || performance.now() - this.#backAt < 2000;
  }
  #backAt = -Infinity;

  #listen() {
    const { signal } = this.#closed;
    document.addEventListener("visibilitychange", () => this.#visibility(), { signal });
    addEventListener("online", () => this.#hurry(), { signal });
    this.tile.addEventListener("click", (event) => this.#clicked(event), { signal });
    this.tile.addEventListener("pointermove", (event) => this.#hover(this.#objectUnder(event)), { signal });
    this.tile.addEventListener("pointerleave", () => this.#hover(null), { signal });
  }

  #visibility() {
    if (document.hidden) this.presenter.hide();
    else {
      this.#backAt = performance.now();
      this.#hurry();
    }
    this.#judge();
  }

  /** A try that waits is made now: the network, or the person, has come back. */
  #hurry() {
    if (!this.#retry) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect());
  }

  #objectUnder(event) {
    const { videoWidth, videoHeight } = this.video;
    if (!this.drawn || !videoWidth) return null;
    const at = pictureXy(event, this.video, videoWidth / videoHeight);
    return at && objectAt(this.drawn, ...at);
  }

  #hover(object) {
    const id = object?.id ?? null;
    if (id === this.overlay.hovered) return;
    this.overlay.hovered = id;
    this.tile.classList.toggle("sl-over-object", id !== null);
    this.redraw();
  }

  #clicked(event) {
    const object = this.#objectUnder(event);
    if (!object) return;
    const detail = { stream: this.stream, track_id: object.id, object, stamp: this.stamp };
    this.tile.dispatchEvent(new CustomEvent("sl-object", { detail, bubbles: true }));
  }

  async #tick() {
    this.#judge();
    this.#delay();
    this.presenter.aim();
    const since = performance.now() - 2000;
    this.#frameTimes = this.#frameTimes.filter((at) => at > since);
    this.stats.shownFps = this.#frameTimes.length / 2;
    const pc = this.#session?.pc;
    if (pc?.connectionState !== "connected") return;
    for (const report of (await pc.getStats()).values()) {
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

/** Counts by name, which the API gives as an object and the state hash as JSON; null where neither does. */
function counts(told) {
  try {
    return typeof told === "string" ? JSON.parse(told || "null") : (told ?? null);
  } catch {
    return null;
  }
}

/** Put words into an element; none hides it. Untouched where nothing changes, so that a screen reader is not told again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  if (element.hidden === Boolean(text)) element.hidden = !text;
}
