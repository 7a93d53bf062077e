// The REST border of the page: every call in one place, every refusal as one readable sentence.

const BASE = "/api/v1";
const PATIENCE_MS = 8000;
const WHY_PATIENCE_MS = 60_000; // the engine that shows its attention may first have to be built

/** `where` is the field or thing that the server names, `field` its first part: zones for zones.0.name. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
    this.where = /^([\w.[\]-]+): /.exec(message)?.[1] ?? "";
    this.field = status === 409 ? "name" : this.where.split(/[.[]/)[0];
  }
}

async function call(path, { patienceMs = PATIENCE_MS, json, ...options } = {}) {
  if (json !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(BASE + path, { signal: AbortSignal.timeout(patienceMs), ...options });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(late ? `no answer within ${patienceMs / 1000} s` : "the server does not answer", 0);
  }
  if (response.status === 401) location.assign("/login");
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(body.detail ?? body.title ?? `status ${response.status}`, response.status);
  return body;
}

const part = encodeURIComponent;

/** Who looks at this page; a server that does not know the question leaves everything to its user. */
export const whoAmI = () =>
  call("/me").catch((error) => {
    if (error.status === 404) return { name: "", role: "manage", open: true };
    throw error;
  });

export const listStreams = () => call("/streams");
export const addStream = (config) => call("/streams", { method: "POST", json: config });
export const patchStream = (name, change) => call(`/streams/${part(name)}`, { method: "PATCH", json: change });
export const removeStream = (name) => call(`/streams/${part(name)}`, { method: "DELETE" });
export const listModels = () => call("/models");

export const listEvents = (filter) => call(`/events?${query(filter)}`);
export const getEvent = (id) => call(`/events/${part(id)}`);
export const pictureUrl = (id) => `${BASE}/events/${part(id)}/picture.jpg`;
export const thumbnailUrl = (id) => `${BASE}/events/${part(id)}/thumbnail.jpg`;
export const clipUrl = (id) => `${BASE}/events/${part(id)}/clip.mp4`;

export const whyOfEvent = (id) => call(`/events/${part(id)}/why`, { patienceMs: WHY_PATIENCE_MS });
export const whyOfTrack = (stream, track) =>
  call(`/streams/${part(stream)}/why`, { method: "POST", json: { track_id: track }, patienceMs: WHY_PATIENCE_MS });

/** A live feed from `cursor` on; the browser resumes it by itself with Last-Event-ID. */
export const openEvents = (filter, cursor) => new EventSource(`${BASE}/events/stream?${query({ ...filter, after: cursor })}`);

function query(filter) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given);
}
