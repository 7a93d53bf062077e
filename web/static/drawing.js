// Drawing zones and lines over a live picture with mouse, finger or keys: click corners, drag a corner, close with a
// double click, the first corner or Enter; Esc undoes, Delete removes.

import { el } from "./dom.js";
import { MOST_CORNERS, corner, freeName, middle } from "./shapes.js";

const NEAR_PX = 12; // a click so near to the first corner closes the zone
const STEP = 0.005; // of the picture, an arrow key

export class Drawing {
  shapes = [];
  picked = -1;
  tool = "pick"; // or zone, line
  #draft = null; // corners of what is being drawn
  #pointer = null; // where the next corner would be
  #drag = null; // [shape, corner]

  /** Over `tile`; `onChange()` after each change of the shapes, the tool or what is picked. */
  constructor(tile, onChange) {
    this.tile = tile;
    this.onChange = onChange;
    this.svg = el("svg.sl-draw", { tabindex: 0, role: "application", "aria-label": "Drawing of zones and lines" });
    tile.append(this.svg);
    this.svg.addEventListener("pointerdown", (event) => this.#down(event));
    this.svg.addEventListener("pointermove", (event) => this.#move(event));
    this.svg.addEventListener("pointerup", () => this.#up());
    this.svg.addEventListener("pointercancel", () => this.#up());
    this.svg.addEventListener("dblclick", (event) => this.#doubled(event));
    this.svg.addEventListener("click", (event) => event.stopPropagation()); // the tile and its player rest meanwhile
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(tile);
  }

  close() {
    this.observer.disconnect();
    this.svg.remove();
  }

  use(tool) {
    this.tool = tool;
    this.#draft = null;
    if (tool !== "pick") this.picked = -1;
    this.svg.focus({ preventScroll: true });
    this.#changed();
  }

  pick(index) {
    this.tool = "pick";
    this.#draft = null;
    this.picked = index;
    this.#changed();
  }

  remove(index = this.picked) {
    if (!this.shapes[index]) return;
    this.shapes.splice(index, 1);
    this.picked = -1;
    this.#changed();
  }

  /** True if the key meant something here. */
  key({ key, shiftKey }) {
    if (key === "Enter" && this.#draft) this.#finish();
    else if (key === "Escape" || key === "Backspace" || (key === "Delete" && this.#draft)) return this.#undo(key);
    else if (key === "Delete" && this.picked >= 0) this.remove();
    else if (key.startsWith("Arrow") && this.picked >= 0) this.#shift(key, shiftKey ? 10 : 1);
    else return false;
    return true;
  }

  #undo(key) {
    if (this.#draft?.length) this.#draft.pop();
    if (this.#draft?.length) this.draw();
    else if (this.tool !== "pick") this.use("pick");
    else if (key === "Escape" && this.picked >= 0) this.pick(-1);
    else return false;
    return true;
  }

  #shift(key, times) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key] ?? [0, 0];
    const shape = this.shapes[this.picked];
    shape.points = shape.points.map(([x, y]) => corner(x + dx * STEP * times, y + dy * STEP * times));
    this.#changed();
  }

  #finish() {
    const enough = this.tool === "line" ? 2 : 3;
    if (!this.#draft || this.#draft.length < enough) return;
    this.shapes.push({ kind: this.tool, name: freeName(this.tool, this.shapes), points: this.#draft, labels: [], dwell_s: null, alarm: false });
    this.pick(this.shapes.length - 1);
  }

  #at({ clientX, clientY }) {
    const box = this.svg.getBoundingClientRect();
    return corner((clientX - box.left) / box.width, (clientY - box.top) / box.height);
  }

  #isNear([ax, ay], [bx, by]) {
    const { width, height } = this.svg.getBoundingClientRect();
    return Math.hypot((ax - bx) * width, (ay - by) * height) <= NEAR_PX;
  }

  #down(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.svg.focus({ preventScroll: true });
    const point = this.#at(event);
    if (this.tool === "pick") {
      const { shape, corner: at } = event.target.dataset;
      if (at !== undefined) {
        this.#drag = [Number(shape), Number(at)];
        this.svg.setPointerCapture(event.pointerId);
      }
      if (shape === undefined || Number(shape) !== this.picked) this.pick(shape === undefined ? -1 : Number(shape));
      return;
    }
    this.#draft ??= [];
    const closes = this.tool === "zone" && this.#draft.length >= 3 && this.#isNear(point, this.#draft[0]);
    if (closes) return this.#finish();
    if (this.#draft.length && this.#isNear(point, this.#draft.at(-1))) return; // the second half of a double click
    this.#draft.push(point);
    if ((this.tool === "line" && this.#draft.length === 2) || this.#draft.length === MOST_CORNERS) this.#finish();
    else this.draw();
  }

  #move(event) {
    if (this.#drag) {
      const [shape, at] = this.#drag;
      this.shapes[shape].points[at] = this.#at(event);
      this.#changed();
    } else if (this.#draft) {
      this.#pointer = this.#at(event);
      this.draw();
    }
  }

  #up() {
    this.#drag = null;
  }

  #doubled(event) {
    event.preventDefault();
    if (this.tool === "zone") this.#finish();
  }

  #changed() {
    this.draw();
    this.onChange();
  }

  draw() {
    const { clientWidth: w, clientHeight: h } = this.tile;
    this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    this.svg.dataset.tool = this.tool;
    const place = ([x, y]) => [x * w, y * h];
    this.svg.replaceChildren(
      ...this.shapes.flatMap((shape, i) => figure(shape, i, i === this.picked, place)),
      ...(this.#draft?.length ? draft(this.#draft, this.#pointer, this.tool, place) : []),
    );
  }
}

const listed = (points) => points.map((point) => point.map((v) => v.toFixed(1)).join(",")).join(" ");

function figure({ kind, name, points }, i, picked, place) {
  const placed = points.map(place);
  const mark = picked ? ".sl-picked" : "";
  const body = el(`${kind === "zone" ? "polygon" : "polyline"}.sl-shape.sl-${kind}${mark}`, { points: listed(placed), data: { shape: i } });
  const [x, y] = place(middle(points));
  const parts = [body];
  if (kind === "line") parts.push(...arrow(placed));
  parts.push(el(`text.sl-shape-name${mark}`, { x, y: kind === "line" ? y - 10 : y, "text-anchor": "middle", "dominant-baseline": "middle" }, name));
  if (picked) {
    for (const [at, [cx, cy]] of placed.entries()) {
      parts.push(el("circle.sl-corner", { cx, cy, r: 5.5 }));
      parts.push(el("circle.sl-grip", { cx, cy, r: 16, data: { shape: i, corner: at } })); // as large as a finger
    }
  }
  return parts;
}

/** A short arrow to the right of the line, seen along it: crossed that way the direction is `in`. */
function arrow([[x1, y1], [x2, y2]]) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [rightX, rightY] = [-(y2 - y1) / length, (x2 - x1) / length];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const [tipX, tipY] = [x + 22 * rightX, y + 22 * rightY];
  const wing = (side) => [tipX - 7 * rightX + side * 5 * rightY, tipY - 7 * rightY - side * 5 * rightX];
  return [
    el("polyline.sl-arrow", { points: listed([[x, y], [tipX, tipY]]) }),
    el("polyline.sl-arrow", { points: listed([wing(1), [tipX, tipY], wing(-1)]) }),
    el("text.sl-arrow-word", { x: x + 34 * rightX, y: y + 34 * rightY, "text-anchor": "middle", "dominant-baseline": "middle" }, "in"),
  ];
}

function draft(points, pointer, tool, place) {
  const placed = points.map(place);
  const next = pointer ? [...placed, place(pointer)] : placed;
  const dots = placed.map(([cx, cy], i) => el(i === 0 && tool === "zone" && placed.length >= 3 ? "circle.sl-corner.sl-closing" : "circle.sl-corner", { cx, cy, r: 5.5 }));
  return [el("polyline.sl-shape.sl-draft", { points: listed(next) }), ...dots];
}
