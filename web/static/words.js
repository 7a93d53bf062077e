// How numbers, times and events are said, the same on every page.

export const dash = (value, text) =>
  value === null || value === undefined || Number.isNaN(value) ? "—" : text(value);
export const ms = (value) => dash(value, (v) => `${v < 9.95 && v > 0 ? v.toFixed(1) : Math.round(v)} ms`);
export const fps = (value) => dash(value, (v) => `${v.toFixed(1)} fps`);
export const percent = (share) => dash(share, (v) => `${(100 * v).toFixed(1)} %`);
export const count = (value) => dash(value, (v) => v.toLocaleString("en").replaceAll(",", "\u202f"));

export function age(seconds) {
  return dash(seconds, (s) => (s < 1.5 ? "now" : `${span(s)} ago`));
}

/** A length of time in its largest unit. */
export function span(seconds) {
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat([], { month: "short", day: "numeric" });

/** Unix nanoseconds as hours, minutes, seconds of here; with the day if that is not today. */
export function timeOf(wallNs) {
  const at = new Date(wallNs / 1e6);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

const plain = (name) => String(name).replaceAll("_", " ");

/** Whom an event is about: `person 42`; a stream's own event has words instead. */
export function subjectOf({ attrs = {}, track_id: track }) {
  if (track !== null && track !== undefined) return `${attrs.label ?? "object"} ${track}`;
  return attrs.message || attrs.code || "";
}

/** What happened, beyond its kind: the action, the zone, the line and its direction, the time stayed. */
export function deedOf({ kind, attrs = {} }) {
  if (kind === "action") return plain(attrs.action ?? "");
  if (kind === "cross") return [plain(attrs.line ?? ""), plain(attrs.alarm ?? attrs.direction ?? "")].filter(Boolean).join(", ");
  if (kind === "dwell" && attrs.dwell_s) return `${plain(attrs.zone ?? "")}, ${span(attrs.dwell_s)}`;
  return [plain(attrs.zone ?? ""), plain(attrs.alarm ?? "")].filter(Boolean).join(", ");
}

const VERBS = { appear: "appeared", leave: "left", enter: "entered", exit: "left", dwell: "stayed in", cross: "crossed" };

/** An event as a sentence: `person 42 entered gate`. */
export function sentenceOf(event) {
  const subject = subjectOf(event);
  if (event.kind === "up" || event.kind === "down") return [`stream ${event.kind}`, subject].filter(Boolean).join(": ");
  const deed = deedOf(event);
  if (event.kind === "action") return `${subject}: ${deed}`;
  return [subject, VERBS[event.kind] ?? event.kind, deed].filter(Boolean).join(" ");
}
