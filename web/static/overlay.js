// Puts the layers of one result over the picture, and knows which object lies under a point. Nothing of video or network.

import { Grids, maskHolds } from "./grids.js";
import { Tags, drawActions, drawBox, drawName, drawSkeleton, drawTrail } from "./layers.js";
import { drawZones } from "./zones.js";

export { LAYERS, SHOWN, bones } from "./layers.js";
export { paintMap, paintMask } from "./grids.js";

const UNSURE = 0.55; // a result that is not of this very picture is drawn faded

export class Overlay {
  #canvas;
  #ctx;
  #grids = new Grids();
  #shownWidth = 0; // of the canvas on the page, in CSS px; reading it at every picture would lay the page out each time
  #drawn = null; // what is on the canvas: nothing is drawn again while that is the same

  /** The track under the pointer and the chosen one are marked. */
  hovered = null;
  selected = null;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#ctx = canvas.getContext("2d");
  }

  /** Give the canvas the picture's size, or the screen's where that is finer (so that text stays crisp). */
  resize(pictureWidth, pictureHeight) {
    if (!pictureWidth || !pictureHeight) return;
    this.#drawn = null;
    this.#shownWidth = this.#canvas.clientWidth;
    const shown = this.#shownWidth * Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(Math.max(pictureWidth, shown));
    const height = Math.round((width * pictureHeight) / pictureWidth);
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
  }

  clear() {
    this.#drawn = null;
    this.#wipe();
  }

  #wipe() {
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.#ctx.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /**
   * Draw `result` (null: only what does not come from one). `layers` is a Set of LAYERS, `trails` a Map id -> points,
   * `regions` {zones, lines}, `inside` zone name -> count, `attention` {size_hw, values}. `sure` false draws it faded.
   * Nothing is done where all of that is what is drawn already: a picture without a result of its own keeps the last one's.
   */
  draw(result, { layers, trails, sure = true, regions, inside, attention }) {
    const wanted = [
      ...[result, sure, regions, inside, attention, this.hovered, this.selected, [...layers].join()],
      layers.has("trails") ? [...trails.values()].reduce((sum, points) => sum + points.length, 0) : 0,
    ];
    if (this.#drawn?.every((value, i) => value === wanted[i])) return;
    this.#drawn = wanted;
    this.#wipe();
    const ctx = this.#ctx;
    const [h, w] = result?.source_hw ?? [this.#canvas.height, this.#canvas.width];
    ctx.setTransform(this.#canvas.width / w, 0, 0, this.#canvas.height / h, 0, 0);
    const unit = w / (this.#shownWidth || w);
    const tags = new Tags(ctx, unit, w, h);
    if (layers.has("attention") && attention) {
      this.#grids.attention(attention, ctx, w, h);
      tags.put("attention, not cause", 10 * unit, [10 * unit], "rgb(10 13 18 / 0.8)", "#ffd591");
    }
    if (layers.has("zones") && regions) drawZones(ctx, tags, regions, inside);
    if (!result) return;
    ctx.globalAlpha = sure ? 1 : UNSURE;
    this.#objects(result, layers, trails, tags);
    ctx.globalAlpha = 1;
  }

  #objects(result, layers, trails, tags) {
    const { objects } = result;
    const [ctx, { w, h, unit }] = [this.#ctx, tags];
    const marked = ({ id }) => id === this.hovered || id === this.selected;
    if (layers.has("ground") && result.semantic) this.#grids.ground(result.semantic, ctx, w, h);
    if (layers.has("masks")) this.#grids.masks(result, ctx, w, h);
    if (layers.has("trails")) for (const [id, points] of trails) drawTrail(ctx, id, points, unit);
    for (const object of objects) if (layers.has("boxes") || marked(object)) drawBox(ctx, object, unit, marked(object));
    if (layers.has("skeletons") && result.keypoint_names) {
      for (const object of objects) drawSkeleton(ctx, object, result.keypoint_names, unit);
    }
    if (layers.has("labels") || layers.has("ids")) for (const object of objects) drawName(tags, object, layers);
    if (layers.has("actions") && result.actions) drawActions(tags, result.actions, objects);
  }
}

/** The object of `result` under a point (fractions of the picture): the smallest whose mask, else whose box, holds it. */
export function objectAt(result, x, y) {
  const [h, w] = result.source_hw;
  const area = ({ box_xyxy: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  const boxed = result.objects
    .filter(({ box_xyxy: [x1, y1, x2, y2] }) => x * w >= x1 && x * w <= x2 && y * h >= y1 && y * h <= y2)
    .sort((a, b) => area(a) - area(b));
  return boxed.find(({ mask }) => mask && maskHolds(mask, x, y)) ?? boxed[0] ?? null;
}

/** Where a pointer event lies in a picture of `ratio` (w / h) that is fitted into `element`: [x, y] fractions, or null. */
export function pictureXy({ clientX, clientY }, element, ratio) {
  const { left, top, width, height } = element.getBoundingClientRect();
  const shownW = Math.min(width, height * ratio);
  const shownH = shownW / ratio;
  const x = (clientX - left - (width - shownW) / 2) / shownW;
  const y = (clientY - top - (height - shownH) / 2) / shownH;
  return x >= 0 && x <= 1 && y >= 0 && y <= 1 ? [x, y] : null;
}
