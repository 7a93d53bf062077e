// Which result belongs to the picture on the screen? Pure bookkeeping, no drawing.
//
// Results carry `pts90k` (90 kHz ticks of their epoch); the browser knows the shown frame by its RTP time stamp. The server
// announces the offset between the two per epoch ("origin"): rtp = (pts90k + origin) mod 2^32.

const TICKS_PER_S = 90_000;
const KEEP_S = 5; // trails look 1.5 s back, the jitter buffer holds up to 2 s
const NEAR = [0, 1, -1, 2, -2]; // encoders may round a stamp by a tick or two

const uint32 = (value) => ((value % 2 ** 32) + 2 ** 32) % 2 ** 32;

/** Signed ticks from `b` to `a` on the 32-bit RTP circle. */
export const ticksBetween = (a, b) => (a - b) | 0;

export class Timeline {
  #origins = new Map(); // epoch -> offset in ticks
  #byStamp = new Map(); // rtp stamp -> result, oldest first
  #waiting = []; // results whose epoch has no origin yet

  #last = null; // the latest stamp that has a result

  newest = null;

  get size() {
    return this.#byStamp.size;
  }

  get ready() {
    return this.#origins.size > 0;
  }

  clear() {
    this.#origins.clear();
    this.#byStamp.clear();
    this.#waiting = [];
    this.#last = null;
    this.newest = null;
  }

  setOrigin(epoch, offset) {
    this.#origins.set(epoch, offset);
    if (this.#origins.size > 8) this.#origins.delete(this.#origins.keys().next().value);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const result of waiting) this.add(result);
  }

  /** Keep a result; returns its RTP stamp, or null while its epoch has no origin. */
  add(result) {
    if (!this.newest || isLater(result, this.newest)) this.newest = result;
    const origin = this.#origins.get(result.epoch);
    if (origin === undefined) {
      this.#waiting.push(result);
      if (this.#waiting.length > 200) this.#waiting.shift();
      return null;
    }
    const stamp = uint32(result.pts90k + origin);
    this.#byStamp.delete(stamp); // a replayed message takes the place of its first copy
    this.#byStamp.set(stamp, result);
    if (this.#last === null || ticksBetween(stamp, this.#last) > 0) this.#last = stamp;
    for (const old of this.#byStamp.keys()) {
      if (ticksBetween(stamp, old) <= KEEP_S * TICKS_PER_S) break;
      this.#byStamp.delete(old);
    }
    return stamp;
  }

  /** The result made from exactly the frame with this stamp, or null. */
  exact(stamp) {
    for (const off of NEAR) {
      const result = this.#byStamp.get(uint32(stamp + off));
      if (result) return result;
    }
    return null;
  }

  /** Whether the results have gone past this frame without one for it: results come in order, so it will get none. */
  passed(stamp) {
    return this.#last !== null && ticksBetween(this.#last, stamp) > NEAR.length && !this.exact(stamp);
  }

  /** The last result at or before this stamp and its lag in milliseconds; else the newest known (lag null). */
  nearest(stamp) {
    let best = null;
    let lag = Infinity;
    for (const [at, result] of this.#byStamp) {
      const ticks = ticksBetween(stamp, at);
      if (ticks >= 0 && ticks < lag) [best, lag] = [result, ticks];
    }
    if (best) return { result: best, lagMs: (lag / TICKS_PER_S) * 1000 };
    return this.newest ? { result: this.newest, lagMs: null } : null;
  }

  /** Where each object stood on the ground in the last `seconds` up to `stamp`: id -> [[x, y], …], oldest first. */
  trails(stamp, epoch, seconds = 1.5) {
    const paths = new Map();
    for (const [at, result] of this.#byStamp) {
      const ticks = ticksBetween(stamp, at);
      if (result.epoch !== epoch || ticks < -2 || ticks > seconds * TICKS_PER_S) continue;
      for (const { id, box_xyxy: [x1, , x2, y2] } of result.objects) {
        if (!paths.has(id)) paths.set(id, []);
        paths.get(id).push([(x1 + x2) / 2, y2]);
      }
    }
    return paths;
  }
}

const isLater = (a, b) => a.epoch > b.epoch || (a.epoch === b.epoch && a.seq >= b.seq);
