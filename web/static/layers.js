// How each layer of lines and words looks. Pure drawing in the picture's own pixels; `unit` is one CSS pixel in them.

import { colourOf } from "./palette.js";

export const LAYERS = [
  "boxes",
  "labels",
  "ids",
  "masks",
  "trails",
  "skeletons",
  "ground",
  "actions",
  "zones",
  "attention",
];
export const SHOWN = LAYERS.filter((name) => name !== "ground"); // until the person says otherwise

const CASING = "rgb(0 0 0 / 0.5)"; // a dark edge keeps a light line visible on any ground
const INK = "#0a0d12";
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const LIMBS = [
  ["head", "left_shoulder", "right_shoulder", "head"],
  ["left_shoulder", "left_elbow", "left_wrist"],
  ["right_shoulder", "right_elbow", "right_wrist"],
  ["left_shoulder", "left_hip", "right_hip", "right_shoulder"],
  ["left_hip", "left_knee", "left_ankle"],
  ["right_hip", "right_knee", "right_ankle"],
];
const SEEN = 0.3; // a key point of a lower score is not drawn
const SMALL_PX = 560; // narrower on the screen: a phone, or a tile of the wall

/** The lines of a skeleton, [[x, y], [x, y]] each, between key points that are seen. */
export function bones(points, names) {
  const place = new Map(names.map((name, i) => [name, points[i]]));
  const seen = (point) => point && point[2] >= SEEN;
  const found = [];
  for (const limb of LIMBS) {
    for (let i = 1; i < limb.length; i++) {
      const [from, to] = [place.get(limb[i - 1]), place.get(limb[i])];
      if (seen(from) && seen(to)) found.push([from.slice(0, 2), to.slice(0, 2)]);
    }
  }
  return found;
}

/** Stroke what `path` traces: a dark casing, then the line. */
export function cased(ctx, width, style, path) {
  ctx.lineJoin = ctx.lineCap = "round";
  for (const [wide, ink] of [[width * 2, CASING], [width, style]]) {
    ctx.lineWidth = wide;
    ctx.strokeStyle = ink;
    ctx.beginPath();
    path();
    ctx.stroke();
  }
}

/** A box; one that is `marked` (under the pointer, or chosen) is filled lightly and drawn wide. */
export function drawBox(ctx, { id, box_xyxy: [x1, y1, x2, y2] }, unit, marked) {
  const tone = colourOf(id);
  if (marked) {
    ctx.fillStyle = tone.css(0.18);
    ctx.fillRect(x1, y1, x2 - x1, y2 - y1);
  }
  cased(ctx, (marked ? 3 : 1.75) * unit, tone.css(), () => ctx.roundRect(x1, y1, x2 - x1, y2 - y1, 3 * unit));
}

export function drawTrail(ctx, id, points, unit) {
  const tone = colourOf(id);
  ctx.lineWidth = 2.5 * unit;
  ctx.lineCap = ctx.lineJoin = "round";
  for (let i = 1; i < points.length; i++) {
    ctx.strokeStyle = tone.css(0.1 + (0.8 * i) / points.length);
    ctx.beginPath();
    ctx.moveTo(...points[i - 1]);
    ctx.lineTo(...points[i]);
    ctx.stroke();
  }
}

export function drawSkeleton(ctx, { id, keypoints }, names, unit) {
  if (!keypoints) return;
  cased(ctx, 1.75 * unit, colourOf(id).css(), () => {
    for (const [from, to] of bones(keypoints, names)) {
      ctx.moveTo(...from);
      ctx.lineTo(...to);
    }
  });
  ctx.fillStyle = "#fff";
  for (const [x, y, score] of keypoints) {
    if (score < SEEN) continue;
    ctx.beginPath();
    ctx.arc(x, y, 1.6 * unit, 0, 2 * Math.PI);
    ctx.fill();
  }
}

/** Words on small plates that keep out of each other's way. Make one for each drawing. */
export class Tags {
  #taken = [];

  constructor(ctx, unit, w, h) {
    Object.assign(this, { ctx, unit, w, h });
    this.small = w / unit < SMALL_PX;
    this.height = (this.small ? 14 : 17) * unit;
    ctx.font = `600 ${this.height * 0.7}px ${FONT}`;
    ctx.textBaseline = "middle";
  }

  /** A plate at the first of `tops` that is free, else at the first; `x` its left edge, kept inside the picture. */
  put(text, x, tops, ground, ink) {
    const { ctx, unit, height } = this;
    const width = ctx.measureText(text).width + 9 * unit;
    const left = Math.max(0, Math.min(x, this.w - width));
    const inside = tops.map((top) => Math.max(0, Math.min(top, this.h - height)));
    const top = inside.find((each) => this.#isFree(left, each, width)) ?? inside[0];
    this.#taken.push([left, top, width]);
    ctx.fillStyle = ground;
    ctx.beginPath();
    ctx.roundRect(left, top, width, height, 3 * unit);
    ctx.fill();
    ctx.fillStyle = ink;
    ctx.fillText(text, left + 4.5 * unit, top + height / 2 + 0.5 * unit);
  }

  #isFree(left, top, width) {
    const clear = ([l, t, w]) => left >= l + w || l >= left + width || top >= t + this.height || t >= top + this.height;
    return this.#taken.every(clear);
  }
}

/** What an object is called: its kind and score (`labels`), its number (`ids`), or both. */
export function nameOf({ id, label, score, box_xyxy: [x1, , x2] }, layers, small, unit) {
  const number = layers.has("ids") ? `${id}` : "";
  if (!layers.has("labels")) return number && `#${number}`;
  if (small) return number || label; // both do not fit
  const percent = x2 - x1 > 70 * unit ? ` · ${Math.round(score * 100)}%` : "";
  return `${label}${number && ` ${number}`}${percent}`;
}

export function drawName(tags, object, layers) {
  const text = nameOf(object, layers, tags.small, tags.unit);
  if (!text) return;
  const [x1, y1, , y2] = object.box_xyxy;
  const { height, unit } = tags;
  const tops = [y1 - height - 1.5 * unit, y1 + 1.5 * unit, y2 - height - 1.5 * unit];
  if (tops[0] < 0) tops.shift(); // no room above the box
  tags.put(text, x1 - unit, tops, colourOf(object.id).css(0.94), INK);
}

/** What somebody does, under the box; what the scene does, at the top left. */
export function drawActions(tags, actions, objects) {
  const byId = new Map(objects.map((object) => [object.id, object]));
  const said = new Set();
  let line = 0;
  for (const { name, score, track_id: id } of actions) {
    const words = name.replaceAll("_", " ");
    const object = byId.get(id);
    if (object && !said.has(id)) {
      said.add(id); // the likeliest comes first
      const [x1, , , y2] = object.box_xyxy;
      const tops = [y2 + 1.5 * tags.unit, y2 - tags.height - 1.5 * tags.unit];
      tags.put(words, x1 - tags.unit, tops, "rgb(10 13 18 / 0.8)", colourOf(id).css());
    } else if (id === null && line < 3) {
      const top = (10 + line++ * 4) * tags.unit + (line - 1) * tags.height;
      tags.put(`scene: ${words} · ${Math.round(score * 100)}%`, 10 * tags.unit, [top], "rgb(10 13 18 / 0.8)", "#fff");
    }
  }
}
