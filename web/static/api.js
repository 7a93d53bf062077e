// The REST border of the page: every call in one place, every refusal as one readable sentence.

const BASE = "/api/v1";

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(BASE + path, { signal: AbortSignal.timeout(8000), ...options });
  } catch {
    throw new ApiError("the server does not answer", 0);
  }
  if (response.status === 401) location.assign("/login");
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(body.detail ?? body.title ?? `status ${response.status}`, response.status);
  return body;
}

export const listStreams = () => call("/streams");

export const addStream = (config) =>
  call("/streams", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(config),
  });

export const removeStream = (name) => call(`/streams/${encodeURIComponent(name)}`, { method: "DELETE" });

export const listEvents = (filter) => call(`/events?${query(filter)}`);

/** A live feed from `cursor` on; the browser resumes it by itself with Last-Event-ID. */
export const openEvents = (filter, cursor) => new EventSource(`${BASE}/events/stream?${query({ ...filter, after: cursor })}`);

function query(filter) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given);
}
