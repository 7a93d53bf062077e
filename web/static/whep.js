// One WHEP session: the offer goes out at once, candidates follow as they are found, the answer comes in; a video track and a
// data channel. Says when it ends; never reconnects by itself.

import { Inflater } from "./inflater.js";

const ICE_WAIT_MS = 1500; // a server that is slow to name its ICE servers must not hold the picture
const ICE_FRESH_MS = 60_000; // credentials may be short-lived
const HEALS_MS = 3000; // "disconnected" is often only a hiccup
const FRAGMENT = "application/trickle-ice-sdpfrag";
const NONE = { iceServers: [], iceTransportPolicy: "all" };

/** A refusal with the server's own words; `status` 0 means that the server did not answer. */
export class WhepError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

let asked = null; // {at, settings}: one question for all players of the page

/** The servers to be used, as an RTCConfiguration; none where the server names none. */
export function iceSettings() {
  const now = performance.now();
  if (!asked || now - asked.at > ICE_FRESH_MS) asked = { at: now, settings: askIce() };
  return asked.settings;
}

async function askIce() {
  try {
    const response = await fetch("/api/v1/ice", { signal: AbortSignal.timeout(ICE_WAIT_MS) });
    if (!response.ok) return NONE;
    const { ice_servers: iceServers = [], relay_only: relayOnly = false } = await response.json();
    return { iceServers, iceTransportPolicy: relayOnly ? "relay" : "all" };
  } catch {
    asked = null; // it did not answer: ask again next time
    return NONE;
  }
}

export class WhepSession {
  #on;
  #location = null;
  #tag = null;
  #ended = false;
  #timer = null;
  #found = []; // candidates that wait for their PATCH
  #telling = false;
  #inflater = null;

  pc = null;

  /** `onTrack(stream, receiver)`, `onMessage(object)`, `onEnd(reason)` (at most once). */
  constructor({ onTrack, onMessage, onEnd }) {
    this.#on = { onTrack, onMessage, onEnd };
  }

  async open(url) {
    const settings = await iceSettings();
    if (this.#ended) return;
    this.#prepare(settings);
    await this.pc.setLocalDescription();
    const answer = await this.#post(url, this.pc.localDescription.sdp);
    if (this.#ended) return this.#forget();
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.#tell();
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.pc?.close();
    this.#inflater?.close();
    this.#forget();
  }

  #prepare(settings) {
    const pc = (this.pc = new RTCPeerConnection(settings));
    pc.ontrack = ({ streams, track, receiver }) => this.#on.onTrack(streams[0] ?? new MediaStream([track]), receiver);
    pc.onconnectionstatechange = () => this.#watch();
    pc.onicecandidate = ({ candidate }) => {
      this.#found.push(candidate?.candidate ? candidate : null);
      this.#tell();
    };
    this.#inflater = Inflater.orNone({
      onMessage: (message) => !this.#ended && this.#on.onMessage(message),
      onFail: () => this.#end("the results cannot be read"),
    });
    const channel = pc.createDataChannel("results", { protocol: this.#inflater ? "deflate" : "" });
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => this.#hear(data);
    channel.onclose = () => this.#end("the server closed the session");
    preferH264(pc.addTransceiver("video", { direction: "recvonly" }));
  }

  #hear(data) {
    if (typeof data === "string") this.#on.onMessage(JSON.parse(data));
    else this.#inflater.write(data);
  }

  async #post(url, sdp) {
    let response;
    try {
      response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: sdp });
    } catch {
      throw new WhepError("the server does not answer");
    }
    const text = await response.text();
    if (response.status !== 201) throw new WhepError(reason(text, response.status), response.status);
    const location = response.headers.get("Location");
    this.#location = location && new URL(location, response.url).href;
    this.#tag = response.headers.get("ETag");
    return text;
  }

  /** Send what has been found since the last time; one PATCH at a time keeps them in order. */
  async #tell() {
    if (this.#telling || this.#ended || !this.#location || !this.#found.length || !this.pc.remoteDescription) return;
    this.#telling = true;
    const body = fragment(this.pc.localDescription.sdp, this.#found.splice(0));
    const headers = { "Content-Type": FRAGMENT, ...(this.#tag && { "If-Match": this.#tag }) };
    await fetch(this.#location, { method: "PATCH", headers, body }).catch(() => {}); // if it mattered, ICE fails and says so
    this.#telling = false;
    this.#tell();
  }

  #forget() {
    if (this.#location) fetch(this.#location, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#location = null;
  }

  #watch() {
    clearTimeout(this.#timer);
    const state = this.pc.connectionState;
    if (state === "failed" || state === "closed") this.#end("the connection was lost");
    if (state === "disconnected") this.#timer = setTimeout(() => this.#end("the connection was lost"), HEALS_MS);
  }

  #end(why) {
    if (this.#ended) return;
    this.close();
    this.#on.onEnd(why);
  }
}

/** A trickle fragment (RFC 8840) of these candidates; null among them ends them. */
export function fragment(sdp, candidates) {
  const line = (name) => new RegExp(`^${name}.*$`, "m").exec(sdp)?.[0].trim();
  const lines = [line("a=ice-ufrag:"), line("a=ice-pwd:"), line("m="), line("a=mid:")];
  for (const candidate of candidates) lines.push(candidate ? `a=${candidate.candidate}` : "a=end-of-candidates");
  return lines.filter(Boolean).join("\r\n") + "\r\n";
}

/** H.264 first, since cameras speak it and it passes through; VP8 behind it for browsers that lack it. */
function preferH264(transceiver) {
  const { codecs } = RTCRtpReceiver.getCapabilities("video");
  const of = (name) => codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${name}`);
  const whole = ({ sdpFmtpLine = "" }) => /packetization-mode=1/.test(sdpFmtpLine);
  const h264 = of("h264").sort((a, b) => whole(b) - whole(a));
  if (!h264.length && !of("vp8").length) throw new WhepError("this browser can play neither H.264 nor VP8", 415);
  transceiver.setCodecPreferences([...h264, ...of("vp8"), ...of("rtx")]);
}

function reason(text, status) {
  try {
    const { detail, title } = JSON.parse(text);
    return detail ?? title ?? `status ${status}`;
  } catch {
    return `status ${status}`;
  }
}
