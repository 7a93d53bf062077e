// An event's picture with what it is about drawn over it: the box, and the way its feet went. Vector lines in the
// picture's own pixels, so that they fit at every size.

import { el } from "./dom.js";

/** A figure of the picture at `src` with the event's box and its `path` [{box_xyxy, wall_ns, score}]. */
export function evidenceOf(event, path, src) {
  const { box_xyxy: box, source_hw: size, label = "object" } = event.attrs ?? {};
  const image = el("img", { src, alt: `${label} on ${event.stream}`, decoding: "async" });
  const place = el("figure.sl-evidence-picture", {}, image);
  image.onerror = () => place.replaceWith(el("p.sl-note-line", { role: "alert" }, "The picture of this event is no longer kept."));
  if (size) place.append(drawing(box, path, size));
  return place;
}

function drawing(box, path, [h, w]) {
  const over = el("svg.sl-over", { viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const feet = path.map(({ box_xyxy: [x1, , x2, y2] }) => [(x1 + x2) / 2, y2]);
  const points = feet.map((point) => point.map((v) => v.toFixed(1)).join(",")).join(" ");
  for (const name of ["sl-edge", "sl-way"]) { // a dark edge keeps the bright line visible on any ground
    if (feet.length > 1) over.append(el(`polyline.${name}`, { points }));
    if (box) over.append(el(`rect.${name}`, { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1] }));
  }
  if (feet.length > 1) over.append(el("circle.sl-way", { cx: feet[0][0], cy: feet[0][1], r: w / 200 }));
  return over;
}
