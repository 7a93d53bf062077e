// One WHEP session: offer out, answer in, a video track and a data channel. Says when it ends; never reconnects by itself.

const GATHER_MS = 1000; // host candidates take a few ms; a missing network must not hold the page

/** A refusal with the server's own words; `status` 0 means that the server did not answer. */
export class WhepError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class WhepSession {
  #location = null;
  #ended = false;
  #timer = null;

  /** `onTrack(stream, receiver)`, `onMessage(object)`, `onEnd(reason)` (at most once). */
  constructor({ onTrack, onMessage, onEnd }) {
    this.onEnd = onEnd;
    this.pc = new RTCPeerConnection({ iceServers: [] });
    this.pc.ontrack = ({ streams, track, receiver }) => onTrack(streams[0] ?? new MediaStream([track]), receiver);
    this.pc.onconnectionstatechange = () => this.#watch();
    this.channel = this.pc.createDataChannel("results");
    this.channel.onmessage = ({ data }) => onMessage(JSON.parse(data));
    this.channel.onclose = () => this.#end("the server closed the session");
  }

  async open(url) {
    const transceiver = this.pc.addTransceiver("video", { direction: "recvonly" });
    preferH264(transceiver);
    await this.pc.setLocalDescription();
    await gathered(this.pc);
    if (this.#ended) return;
    const answer = await this.#post(url, this.pc.localDescription.sdp);
    if (this.#ended) return this.#forget();
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.pc.close();
    this.#forget();
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
    return text;
  }

  #forget() {
    if (this.#location) fetch(this.#location, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#location = null;
  }

  #watch() {
    clearTimeout(this.#timer);
    const state = this.pc.connectionState;
    if (state === "failed" || state === "closed") this.#end("the connection was lost");
    // "disconnected" heals itself when it was only a hiccup
    if (state === "disconnected") this.#timer = setTimeout(() => this.#end("the connection was lost"), 3000);
  }

  #end(why) {
    if (this.#ended) return;
    this.close();
    this.onEnd(why);
  }
}

function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
  const h264 = codecs.filter(({ mimeType }) => mimeType === "video/H264");
  if (!h264.length) throw new WhepError("this browser cannot play H.264", 415);
  const repair = codecs.filter(({ mimeType }) => mimeType === "video/rtx");
  transceiver.setCodecPreferences([...h264, ...repair]);
}

function gathered(pc) {
  if (pc.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    pc.addEventListener("icegatheringstatechange", () => {
      if (pc.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

function reason(text, status) {
  try {
    const { detail, title } = JSON.parse(text);
    return detail ?? title ?? `status ${status}`;
  } catch {
    return `status ${status}`;
  }
}
