// May the tile look live? If not, why, in words. Pure: time and what is known come in.

const STALE_MS = 2000; // no new picture for this long is not live …
const SLOW_FRAMES = 3; // … nor for this many pictures of a slow stream
const STALEST_MS = 15_000;

const WORDS = {
  INITIALISING: "its source and model are being made ready",
  RESTARTING: "the source was lost; trying again",
  PAUSED: "paused by its configuration",
  ENDED: "the source came to its end",
};

/** How long a stream of this many frames a second may be without a new picture. */
export function staleAfterMs(fps) {
  return fps > 0 ? Math.min(STALEST_MS, Math.max(STALE_MS, (SLOW_FRAMES * 1000) / fps)) : STALE_MS;
}

/**
 * Null if the tile may look live, else {title, text, blank}; `blank` takes the overlay away too. `state` is what the server
 * says of the stream, `trouble` {title, text} what keeps the session from it, `silentMs` the age of the shown picture,
 * `returning` whether the page was out of sight when it was shown.
 */
export function whyDown({ state, trouble, silentMs, returning }) {
  if (state?.state && state.state !== "RUNNING") {
    const text = [state.error_code, state.error].filter(Boolean).join(": ") || WORDS[state.state] || "";
    return { title: state.state, text, blank: true };
  }
  if (state?.live === false) {
    return { title: "Not live", text: "the worker does not answer; it is being started again", blank: true };
  }
  if (trouble) return { ...trouble, blank: true };
  if (silentMs <= staleAfterMs(Number(state?.fps))) return null;
  if (returning) return { title: "Coming back", text: "waiting for the next picture", blank: true };
  return { title: "No new picture", text: `the last one is ${Math.round(silentMs / 1000)} s old` };
}

const BACKOFF_MS = [300, 1000, 2000, 4000, 8000];
const FULL_MS = 5000; // a server that is full or refuses is not asked again sooner

/** The pause before try number `attempt` (from 0) after a refusal with this HTTP status (0: none), in milliseconds. */
export function pauseMs(attempt, status, random = Math.random) {
  const pause = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)];
  return Math.max(status >= 400 ? FULL_MS : 0, pause) * (0.75 + random() / 2);
}

/** What the tile says while it waits for the next try. */
export function troubleOf(why, status, waitMs) {
  const title = { 404: "No such stream", 406: "Cannot be played here", 415: "Cannot be played here", 503: "No place free" }[status];
  const again = waitMs >= 1500 ? `; trying again in ${Math.round(waitMs / 1000)} s` : "; trying again";
  return { title: title ?? "No connection", text: `${why}${again}` };
}
