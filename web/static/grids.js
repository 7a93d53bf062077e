// Pictures of a result that are grids: masks, a map of classes, a heat map. Each is painted at its own size, once, and the
// browser stretches it over the picture.

import { HEAT_PIXELS, colourOf, groundOf, packed } from "./palette.js";

const UNSEEN = 255; // in a map of classes: the model did not look
const FILL = 0.36;
const EDGE = 0.95;
const GROUND = 0.45;

/**
 * Paint the foreground of a column-major run-length mask into `pixels` (Uint32, row-major, width w) as one colour.
 * `counts` alternate background and foreground, starting with background.
 */
export function paintMask(pixels, { size_hw: [h, w], counts }, rgba) {
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    if (i % 2 === 1) paintRun(pixels, h, w, at, at + counts[i], rgba);
    at += counts[i];
  }
}

/** Paint a map of classes, runs of `values`, into `pixels`; `rgbaOf` gives a class its colour. */
export function paintMap(pixels, { size_hw: [h, w], values, counts }, rgbaOf) {
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    if (values[i] !== UNSEEN) paintRun(pixels, h, w, at, at + counts[i], rgbaOf(values[i]));
    at += counts[i];
  }
}

function paintRun(pixels, h, w, at, end, rgba) {
  let column = Math.floor(at / h);
  let row = at - column * h;
  for (let k = at; k < end; k++) {
    pixels[row * w + column] = rgba;
    if (++row === h) [row, column] = [0, column + 1];
  }
}

/** Repaint as `edge` each pixel of `fill` that has a neighbour of another colour: the mask's outline. */
export function paintEdge(pixels, { size_hw: [h, w], counts }, fill, edge) {
  const outside = (row, column) => {
    if (row < 0 || column < 0 || row >= h || column >= w) return false; // the picture's border is no outline
    const there = pixels[row * w + column];
    return there !== fill && there !== edge;
  };
  let at = 0;
  for (let i = 0; i < counts.length; at += counts[i++]) {
    if (i % 2 === 0) continue;
    for (let k = at; k < at + counts[i]; k++) {
      const column = Math.floor(k / h);
      const row = k - column * h;
      if (pixels[row * w + column] !== fill) continue;
      const onEdge =
        outside(row - 1, column) || outside(row + 1, column) || outside(row, column - 1) || outside(row, column + 1);
      if (onEdge) pixels[row * w + column] = edge;
    }
  }
}

/** Whether the mask covers the point (fractions of the picture). */
export function maskHolds({ size_hw: [h, w], counts }, x, y) {
  const k = Math.min(w - 1, Math.floor(x * w)) * h + Math.min(h - 1, Math.floor(y * h));
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    at += counts[i];
    if (k < at) return i % 2 === 1;
  }
  return false;
}

/** One grid of pixels that is painted anew only when what it shows has changed. */
class Grid {
  #canvas = document.createElement("canvas");
  #ctx = this.#canvas.getContext("2d");
  #image = null;
  #shows = null;

  /** The painted canvas of `subject` (any object: its identity says whether it is new). */
  of(subject, [h, w], paint) {
    if (this.#shows === subject) return this.#canvas;
    this.#shows = subject;
    if (this.#image?.width !== w || this.#image.height !== h) {
      [this.#canvas.width, this.#canvas.height] = [w, h];
      this.#image = this.#ctx.createImageData(w, h);
    }
    const pixels = new Uint32Array(this.#image.data.buffer);
    pixels.fill(0);
    paint(pixels);
    this.#ctx.putImageData(this.#image, 0, 0);
    return this.#canvas;
  }
}

/** The three grids of one overlay; each canvas stays, so a frame costs no new memory. */
export class Grids {
  #ground = new Grid();
  #heat = new Grid();
  #masks = new Map(); // "h x w" -> Grid: objects of one result nearly always share one size

  masks({ objects }, ctx, w, h) {
    const bySize = new Map();
    for (const object of objects) {
      if (!object.mask) continue;
      const key = object.mask.size_hw.join("x");
      if (!bySize.has(key)) bySize.set(key, []);
      bySize.get(key).push(object);
    }
    for (const [key, group] of bySize) {
      if (!this.#masks.has(key)) this.#masks.set(key, new Grid());
      if (this.#masks.size > 4) this.#masks.delete(this.#masks.keys().next().value);
      const canvas = this.#masks.get(key)?.of(objects, group[0].mask.size_hw, (pixels) => paintMasks(pixels, group));
      if (canvas) stretch(ctx, canvas, w, h);
    }
  }

  ground(map, ctx, w, h) {
    const rgbaOf = (value) => packed(groundOf(value, map.names), GROUND);
    stretch(ctx, this.#ground.of(map, map.size_hw, (pixels) => paintMap(pixels, map, rgbaOf)), w, h, false);
  }

  /** `heat` {size_hw, values}: 0..255, row by row. */
  attention(heat, ctx, w, h) {
    const paint = (pixels) => {
      for (let i = 0; i < pixels.length; i++) pixels[i] = HEAT_PIXELS[heat.values[i]];
    };
    stretch(ctx, this.#heat.of(heat, heat.size_hw, paint), w, h);
  }
}

function paintMasks(pixels, group) {
  for (const { id, mask } of group) {
    const { rgb } = colourOf(id);
    const fill = packed(rgb, FILL);
    paintMask(pixels, mask, fill);
    paintEdge(pixels, mask, fill, packed(rgb, EDGE));
  }
}

function stretch(ctx, canvas, w, h, smooth = true) {
  ctx.imageSmoothingEnabled = smooth;
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(canvas, 0, 0, w, h);
  ctx.imageSmoothingEnabled = true;
}
