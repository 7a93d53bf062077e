// Why did it fire? Where the query of one track looked, as heat over the picture; where a chosen point of the picture
// looked; and how alike the track's query stayed over time. It is attention, not cause, and the page says so.

import { el, say } from "./dom.js";
import { span, timeOf } from "./words.js";

const WARMTH = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]; // dark to bright, even steps for the eye
const [WIDE, HIGH] = [320, 72];

export class WhyView {
  #view = null;
  #point = null; // of the grid, that was clicked

  /** `picture` is an address for views that bring none; `wallNs` marks the event on the chart. */
  constructor({ picture = "", wallNs = null } = {}) {
    this.picture = picture;
    this.wallNs = wallNs;
    this.root = el("div.sl-why-view");
  }

  /** Show what `question()` answers, and return it; or show the words of its refusal, and return null. */
  async ask(question) {
    this.root.replaceChildren(el("p.sl-quiet", { role: "status" }, "Asking the model where it looked…"));
    try {
      const view = await question();
      this.#show(view);
      return view;
    } catch (error) {
      const later = error.status === 503 || error.status === 0; // its engine is being built, or the worker is away
      const again = later && el("button.sl-link", { type: "button", onclick: () => this.ask(question) }, "Ask again");
      this.root.replaceChildren(el("p.sl-note-line", { role: "alert" }, error.message, again && " ", again));
      return null;
    }
  }

  #show(view) {
    this.#view = view;
    this.image = el("img", { src: view.picture ?? this.picture, alt: "the picture that the model looked at" });
    this.canvas = el("canvas.sl-heat", { "aria-hidden": "true" });
    this.mark = el("span.sl-point", { hidden: true });
    this.legend = el("span.sl-why-what");
    this.back = el("button.sl-link", { type: "button", hidden: true, onclick: () => this.#ofQuery() }, "back to the track");
    const grid = view.picture_attention;
    const figure = el(
      grid ? "figure.sl-why-figure.sl-askable" : "figure.sl-why-figure",
      { onclick: grid && ((event) => this.#clicked(event)) },
      this.image,
      this.canvas,
      this.mark,
    );
    this.image.onerror = () => this.image.remove();
    this.rows = grid ? Uint8Array.from(atob(grid.rows), (char) => char.charCodeAt(0)) : null;
    const hint = grid ? "Click a point of the picture to see where it looked." : "This model keeps no attention within the picture.";
    this.root.replaceChildren(
      el("p.sl-why-note", {}, el("strong", {}, view.note || "attention, not cause"), this.legend, this.back),
      figure,
      el("p.sl-hintline", {}, hint),
      this.#similarity(view.similarity ?? []),
      el("p.sl-hintline", {}, [view.model, view.layer !== undefined && view.layer !== null && `layer ${view.layer}`, view.wall_ns && timeOf(view.wall_ns)].filter(Boolean).join(" · ")),
    );
    this.#ofQuery();
  }

  #ofQuery() {
    const { query, track_id: track } = this.#view;
    this.#point = null;
    this.mark.hidden = this.back.hidden = true;
    say(this.legend, `where the query of track ${track} looked`);
    if (query) paint(this.canvas, query.size_hw, query.values);
  }

  #clicked({ offsetX, offsetY, target }) {
    const { clientWidth, clientHeight } = this.canvas;
    if (target === this.mark || !clientWidth) return;
    this.showPoint(offsetX / clientWidth, offsetY / clientHeight);
  }

  /** The attention of the point at these fractions of the picture. */
  showPoint(x, y) {
    const [rows, columns] = this.#view.picture_attention.grid_hw;
    const row = Math.min(rows - 1, Math.floor(y * rows));
    const column = Math.min(columns - 1, Math.floor(x * columns));
    const cells = rows * columns;
    this.#point = row * columns + column;
    this.mark.style.cssText = `left:${(100 * (column + 0.5)) / columns}%;top:${(100 * (row + 0.5)) / rows}%`;
    this.mark.hidden = this.back.hidden = false;
    say(this.legend, "where this point of the picture looked");
    paint(this.canvas, [rows, columns], this.rows.subarray(this.#point * cells, (this.#point + 1) * cells));
  }

  #similarity(points) {
    if (points.length < 2) return "";
    const [first, last] = [points[0].wall_ns, points.at(-1).wall_ns];
    const x = (wallNs) => ((wallNs - first) / Math.max(1, last - first)) * WIDE;
    const low = Math.min(0, ...points.map(({ value }) => value));
    const y = (value) => HIGH - ((value - low) / (1 - low)) * HIGH;
    const line = points.map(({ wall_ns, value }) => `${x(wall_ns).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const marked = this.wallNs !== null && this.wallNs >= first && this.wallNs <= last;
    const chart = el(
      "svg.sl-chart",
      { viewBox: `0 -3 ${WIDE} ${HIGH + 6}`, preserveAspectRatio: "none", role: "img", "aria-label": `similarity from ${points[0].value.toFixed(2)} to ${points.at(-1).value.toFixed(2)}` },
      [1, 0.5, 0].map((value) => el("line.sl-rule", { x1: 0, x2: WIDE, y1: y(value), y2: y(value) })),
      marked && el("line.sl-when", { x1: x(this.wallNs), x2: x(this.wallNs), y1: 0, y2: HIGH }),
      el("polyline", { points: line }),
    );
    const values = points.map(({ value }) => value);
    return el(
      "figure.sl-similarity",
      {},
      el("figcaption", {}, el("b", {}, "How alike the track's query stayed"), el("span", {}, `least ${Math.min(...values).toFixed(2)}, last ${values.at(-1).toFixed(2)}`)),
      el("div.sl-chart-place", {}, el("span.sl-axis", {}, el("i", {}, "1"), el("i", {}, "0")), chart),
      el("p.sl-axis-x", {}, el("span", {}, `${span((last - first) / 1e9)} before`), el("span", {}, timeOf(last))),
    );
  }
}

/** Heat of `values` (0..255, row-major) on a canvas of its own small size; the browser smooths it over the picture. */
function paint(canvas, [h, w], values) {
  canvas.width = w;
  canvas.height = h;
  const ctx = canvas.getContext("2d");
  const image = ctx.createImageData(w, h);
  let most = 1;
  for (const value of values) if (value > most) most = value;
  for (let i = 0; i < h * w; i++) {
    const heat = values[i] / most;
    const at = heat * (WARMTH.length - 1);
    const k = Math.min(WARMTH.length - 2, Math.floor(at));
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = WARMTH[k][c] + (at - k) * (WARMTH[k + 1][c] - WARMTH[k][c]);
    image.data[4 * i + 3] = Math.round(255 * (0.3 + 0.45 * heat)); // cold places darken the picture, warm ones shine
  }
  ctx.putImageData(image, 0, 0);
}
