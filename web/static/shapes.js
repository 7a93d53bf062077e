// Zones and lines as they are being drawn: corners in fractions of the picture. Pure: no page, no server.

export const MOST_CORNERS = 32;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$/;

/** Shapes of a stream's zones and lines, as the API gives them. */
export function shapesOf({ zones = [], lines = [] }) {
  const zone = ({ name, points, labels = [], dwell_s = null, forbidden = false }) => ({ kind: "zone", name, points: points.map((p) => [...p]), labels: [...labels], dwell_s, alarm: forbidden });
  const line = ({ name, start, end, labels = [], one_way = false }) => ({ kind: "line", name, points: [[...start], [...end]], labels: [...labels], dwell_s: null, alarm: one_way });
  return [...zones.map(zone), ...lines.map(line)];
}

/** What a PATCH says of them. */
export function wishesOf(shapes) {
  const zones = shapes.filter(({ kind }) => kind === "zone");
  const lines = shapes.filter(({ kind }) => kind === "line");
  return {
    zones: zones.map(({ name, points, labels, dwell_s, alarm }) => ({ name, points, labels, dwell_s, forbidden: alarm })),
    lines: lines.map(({ name, points: [start, end], labels, alarm }) => ({ name, start, end, labels, one_way: alarm })),
  };
}

/** A name that no shape has yet: zone 1, zone 2, … */
export function freeName(kind, shapes) {
  const taken = new Set(shapes.map(({ name }) => name));
  for (let n = 1; ; n++) if (!taken.has(`${kind} ${n}`)) return `${kind} ${n}`;
}

/** What is wrong with these shapes, as {index, field, words}; null if nothing is. */
export function mistake(shapes) {
  const seen = new Set();
  for (const [index, { kind, name, points, dwell_s }] of shapes.entries()) {
    const wrong = (field, words) => ({ index, field, words });
    if (!NAME.test(name)) return wrong("name", "letters, digits, spaces and - _ . only, beginning with a letter or digit");
    if (seen.has(name)) return wrong("name", "another zone or line has this name");
    seen.add(name);
    if (kind === "zone" && points.length < 3) return wrong("name", "a zone needs three corners");
    if (dwell_s !== null && !(dwell_s > 0 && dwell_s <= 86_400)) return wrong("dwell_s", "seconds, more than 0 and up to a day");
  }
  return null;
}

/** A corner inside the picture, with no more digits than a pixel needs. */
export const corner = (x, y) => [x, y].map((v) => Math.round(Math.min(1, Math.max(0, v)) * 1e4) / 1e4);

/** The middle of a polygon's corners, where its name is written. */
export function middle(points) {
  const sum = points.reduce(([x, y], [px, py]) => [x + px, y + py], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}
