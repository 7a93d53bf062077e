// "Use my camera": one WHIP session from this browser's camera to a stream. Says in words what it does and why it ended;
// the camera's light goes out at the end, whatever that was. Never reconnects by itself.

const GATHER_MS = 1000; // host candidates take a few ms; a missing network must not hold the page
const ICE_WAIT_MS = 1500;
const HEALS_MS = 3000; // "disconnected" is often only a hiccup
const FRAGMENT = "application/trickle-ice-sdpfrag";
const LARGEST = { width: { ideal: 1280, max: 1280 }, height: { ideal: 720, max: 720 }, frameRate: { ideal: 25, max: 30 } };
const BITS_PER_S = 2_500_000;

/** What a Publication can be in; `text` of `onState` says more. */
export const STATES = ["idle", "asking", "connecting", "live", "refused", "ended"];

/** The cameras to choose from, as {deviceId, label}; labels are empty until the person has let this page use one. */
export async function cameras() {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const named = found.filter(({ kind }) => kind === "videoinput");
  return named.map(({ deviceId, label }, i) => ({ deviceId, label: label || `camera ${i + 1}` }));
}

/** A refusal in words that a person can act on. */
export class PublishError extends Error {}

export class Publication {
  #onState;
  #state = "idle";
  #text = "";
  #media = null;
  #video = null;
  #pc = null;
  #location = null;
  #tag = null;
  #timer = null;

  /** `onState(state, text)` at each change; `state` is one of STATES. */
  constructor({ onState = () => {} } = {}) {
    this.#onState = onState;
  }

  get state() {
    return this.#state;
  }

  /** Why it is in that state, in words. */
  get text() {
    return this.#text;
  }

  /** The camera that is in use, if its name is known. */
  get label() {
    return this.#media?.getVideoTracks()[0]?.label ?? "";
  }

  /** Ask for the camera, show it in `video`, publish it to `stream`. Resolves once the server has answered; throws
   *  PublishError, and is "refused", where that fails. */
  async start(stream, { video = null, deviceId = null } = {}) {
    if (["asking", "connecting", "live"].includes(this.#state)) throw new PublishError("this camera is being published already");
    try {
      this.#is("asking", "waiting for leave to use the camera");
      await this.#openCamera(video, deviceId);
      this.#is("connecting", "connecting");
      await this.#connect(stream);
    } catch (error) {
      if (this.#state === "ended") return; // stopped meanwhile
      await this.#end("refused", inWords(error));
      throw error instanceof PublishError ? error : new PublishError(inWords(error));
    }
  }

  async stop() {
    await this.#end("ended", "stopped");
  }

  async #openCamera(video, deviceId) {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new PublishError("this browser gives no page a camera here: open it over https, or as localhost");
    const wanted = { ...LARGEST, ...(deviceId && { deviceId: { exact: deviceId } }) };
    const media = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    if (this.#state !== "asking") {
      for (const track of media.getTracks()) track.stop();
      throw new PublishError("stopped");
    }
    this.#media = media;
    const track = media.getVideoTracks()[0];
    track.contentHint = "motion";
    track.onended = () => this.#end("ended", "the camera is gone");
    this.#video = video;
    if (video) {
      video.muted = true;
      video.playsInline = true;
      video.srcObject = media;
      await video.play().catch(() => {}); // a page in the background; the picture goes out all the same
    }
  }

  async #connect(stream) {
    const pc = (this.#pc = new RTCPeerConnection(await iceSettings()));
    pc.onconnectionstatechange = () => this.#watch();
    const transceiver = pc.addTransceiver(this.#media.getVideoTracks()[0], {
      direction: "sendonly",
      streams: [this.#media],
      sendEncodings: [{ maxBitrate: BITS_PER_S }],
    });
    preferH264(transceiver);
    await pc.setLocalDescription();
    await gathered(pc);
    if (this.#pc !== pc) return;
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.#tell(candidate);
    const answer = await this.#post(`/${encodeURIComponent(stream)}/whip`, pc.localDescription.sdp);
    if (this.#pc !== pc) return this.#forget();
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  async #post(url, body) {
    let response;
    try {
      response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body });
    } catch {
      throw new PublishError("the server does not answer");
    }
    const text = await response.text();
    if (response.status !== 201) throw new PublishError(reason(text, response.status));
    const location = response.headers.get("Location");
    this.#location = location && new URL(location, response.url).href;
    this.#tag = response.headers.get("ETag");
    return text;
  }

  /** A candidate that was found after the offer went out. */
  #tell(candidate) {
    if (!this.#location) return;
    const sdp = this.#pc.localDescription.sdp;
    const line = (name) => new RegExp(`^${name}.*$`, "m").exec(sdp)?.[0].trim();
    const lines = [line("a=ice-ufrag:"), line("a=ice-pwd:"), line("m="), line("a=mid:"), `a=${candidate.candidate}`];
    const headers = { "Content-Type": FRAGMENT, ...(this.#tag && { "If-Match": this.#tag }) };
    fetch(this.#location, { method: "PATCH", headers, body: `${lines.filter(Boolean).join("\r\n")}\r\n` }).catch(() => {});
  }

  #watch() {
    clearTimeout(this.#timer);
    const state = this.#pc?.connectionState;
    if (state === "connected") this.#is("live", "live");
    if (state === "failed") this.#end("ended", this.#state === "live" ? "the connection was lost" : "no way to the server was found");
    if (state === "closed") this.#end("ended", "the server ended it");
    if (state === "disconnected") this.#timer = setTimeout(() => this.#end("ended", "the connection was lost"), HEALS_MS);
  }

  #forget() {
    if (this.#location) fetch(this.#location, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#location = null;
  }

  /** Let go of the camera and of the session; the first reason stands. */
  async #end(state, text) {
    if (this.#state === "ended" || this.#state === "refused" || this.#state === "idle") return;
    clearTimeout(this.#timer);
    for (const track of this.#media?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    if (this.#video?.srcObject === this.#media) this.#video.srcObject = null;
    this.#media = null;
    if (this.#pc) this.#pc.onconnectionstatechange = null;
    this.#pc?.close();
    this.#pc = null;
    this.#forget();
    this.#is(state, text);
  }

  #is(state, text) {
    this.#state = state;
    this.#text = text;
    this.#onState(state, text);
  }
}

/** H.264 first: it goes on to viewers as it is. */
function preferH264(transceiver) {
  const codecs = RTCRtpSender.getCapabilities("video").codecs;
  const of = (name) => codecs.filter(({ mimeType }) => mimeType === `video/${name}`);
  transceiver.setCodecPreferences([...of("H264"), ...of("VP8"), ...of("rtx")]);
}

async function iceSettings() {
  try {
    const response = await fetch("/api/v1/ice", { signal: AbortSignal.timeout(ICE_WAIT_MS) });
    if (!response.ok) return { iceServers: [] };
    const { ice_servers: iceServers = [], relay_only: relayOnly = false } = await response.json();
    return { iceServers, iceTransportPolicy: relayOnly ? "relay" : "all" };
  } catch {
    return { iceServers: [] };
  }
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

const WORDS = {
  NotAllowedError: "this page may not use the camera: allow it beside the address, then try again",
  NotFoundError: "there is no camera",
  NotReadableError: "the camera is in use by another program",
  OverconstrainedError: "that camera is not there any more",
  SecurityError: "this browser gives no page a camera here: open it over https, or as localhost",
};

const inWords = (error) => WORDS[error.name] ?? error.message;

function reason(text, status) {
  try {
    const { detail, title } = JSON.parse(text);
    return detail ?? title ?? `status ${status}`;
  } catch {
    return `status ${status}`;
  }
}
