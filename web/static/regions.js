// The panel of one camera's zones and lines: tools, names, classes, dwell; saved by PATCH as a whole, or left as it was.

import { patchStream } from "./api.js";
import { el, say } from "./dom.js";
import { Drawing } from "./drawing.js";
import { mistake, shapesOf, wishesOf } from "./shapes.js";

const HINTS = {
  pick: "Choose a shape to move its corners. Arrows move it, Delete removes it.",
  zone: "Click the corners. Close with a double click, the first corner or Enter; Esc takes the last one back.",
  line: "Click where it begins and where it ends. Crossed to its right it counts as in.",
};

export class Regions {
  #drawing = null;
  #before = "";

  /** `onDone()` closes the panel; `labels()` are classes that are worth offering. */
  constructor(root, { onDone, onSaved, labels }) {
    this.root = root;
    this.onDone = onDone;
    this.onSaved = onSaved;
    this.labels = labels;
  }

  get open() {
    return this.#drawing !== null;
  }

  get changed() {
    return this.open && this.#said() !== this.#before;
  }

  /** Draw over `player`'s tile the regions of `stream` (an item of GET /api/v1/streams). */
  show(stream, player) {
    if (this.#drawing?.tile === player.tile) return;
    this.hide();
    this.stream = stream;
    this.player = player;
    this.#drawing = new Drawing(player.tile, () => this.#refresh());
    this.#drawing.shapes = shapesOf(stream);
    this.#before = this.#said();
    player.setZones([], []); // the drawing shows them meanwhile
    player.tile.dataset.zones = "";
    player.tile.classList.add("sl-drawing");
    this.#build();
    this.#drawing.use(this.#drawing.shapes.length ? "pick" : "zone");
  }

  hide() {
    if (!this.#drawing) return;
    this.#drawing.close();
    this.#drawing.tile.classList.remove("sl-drawing");
    this.#drawing = null;
    this.player.setZones(this.stream.zones ?? [], this.stream.lines ?? []);
    this.root.replaceChildren();
  }

  /** True if the key meant something to the drawing. */
  key(event) {
    return this.#drawing?.key(event) ?? false;
  }

  #said() {
    return JSON.stringify(wishesOf(this.#drawing.shapes));
  }

  #build() {
    const tool = (name, words) => el("button", { type: "button", role: "radio", data: { tool: name }, onclick: () => this.#drawing.use(name) }, words);
    this.tools = el("div.sl-segments.sl-wide-segments", { role: "radiogroup", "aria-label": "Tool" }, tool("pick", "Choose"), tool("zone", "+ Zone"), tool("line", "+ Line"));
    this.hint = el("p.sl-hintline", { "aria-live": "polite" });
    this.list = el("ol.sl-region-list");
    this.error = el("p.sl-error", { role: "alert", hidden: true });
    this.save = el("button.sl-button.sl-primary", { type: "button", onclick: () => this.#save() }, "Save");
    const known = el("datalist", { id: "sl-labels" }, this.labels().map((label) => el("option", { value: label })));
    this.root.replaceChildren(
      el("header.sl-panel-head", {}, el("h2", {}, "Zones and lines"), el("span.sl-soft", {}, this.stream.name)),
      el("div.sl-panel-body", {}, this.tools, this.hint, this.list, known),
      el("div.sl-panel-foot", {}, this.error, el("div.sl-actions", {}, el("button.sl-button", { type: "button", onclick: () => this.onDone() }, "Cancel"), this.save)),
    );
  }

  #refresh() {
    const drawing = this.#drawing;
    for (const each of this.tools.children) each.setAttribute("aria-checked", each.dataset.tool === drawing.tool);
    say(this.hint, drawing.shapes.length || drawing.tool !== "pick" ? HINTS[drawing.tool] : "No zones yet. Take a tool and draw over the picture.");
    this.save.disabled = !this.changed;
    const rows = this.list.children;
    const same = rows.length === drawing.shapes.length && drawing.shapes.every((shape, i) => rows[i].shape === shape);
    if (!same) this.list.replaceChildren(...drawing.shapes.map((shape, i) => this.#row(shape, i)));
    for (const [i, row] of [...rows].entries()) {
      const picked = i === drawing.picked;
      if (picked && !row.classList.contains("sl-picked")) row.scrollIntoView({ block: "nearest" });
      row.classList.toggle("sl-picked", picked);
    }
  }

  #row(shape, index) {
    const drawing = this.#drawing;
    const at = () => drawing.shapes.indexOf(shape);
    const changed = (change) => (event) => {
      change(event.target.value.trim());
      clear(row);
      drawing.draw();
      this.#refresh();
    };
    const commas = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);
    const row = el(
      "li.sl-region",
      { data: { kind: shape.kind }, onfocusin: () => at() !== drawing.picked && drawing.pick(at()), onclick: () => at() !== drawing.picked && drawing.pick(at()) },
      el("div.sl-region-head", {},
        el("span.sl-region-mark", { "aria-hidden": "true" }),
        el("input", { name: "region", value: shape.name, "aria-label": `Name of this ${shape.kind}`, maxlength: 64, autocomplete: "off", spellcheck: "false", oninput: changed((v) => (shape.name = v)) }),
        el("button.sl-icon", { type: "button", title: "Remove", "aria-label": `Remove ${shape.kind} ${index + 1}`, onclick: (event) => { event.stopPropagation(); drawing.remove(at()); } }, "✕"),
      ),
      el("div.sl-region-more", {},
        el("label", {}, "Only these classes", el("input", { name: "labels", value: shape.labels.join(", "), placeholder: "all", list: "sl-labels", autocomplete: "off", oninput: changed((v) => (shape.labels = commas(v))) })),
        shape.kind === "zone" && el("label", {}, "Dwell event after", el("span.sl-unit", {}, el("input", { name: "dwell_s", value: shape.dwell_s ?? "", inputmode: "decimal", placeholder: "—", oninput: changed((v) => (shape.dwell_s = v === "" ? null : Number(v.replace(",", ".")))) }), "s")),
        el("label.sl-check", {}, el("input", { type: "checkbox", name: shape.kind === "zone" ? "forbidden" : "one_way", checked: shape.alarm, onchange: (event) => { shape.alarm = event.target.checked; this.#refresh(); } }), shape.kind === "zone" ? "Nobody may be here: entering is an alarm" : "One way only: out is an alarm"),
      ),
    );
    row.shape = shape;
    return row;
  }

  async #save() {
    const drawing = this.#drawing;
    this.error.hidden = true;
    for (const row of this.list.children) clear(row);
    const wrong = mistake(drawing.shapes);
    if (wrong) return this.#refuse(wrong.index, wrong.field, wrong.words);
    const wishes = wishesOf(drawing.shapes);
    this.save.disabled = true;
    try {
      const stream = await patchStream(this.stream.name, wishes);
      this.stream = { ...this.stream, ...wishes, ...stream };
      this.#before = this.#said();
      this.onSaved(this.stream);
      this.onDone();
    } catch (error) {
      this.save.disabled = false;
      const [, list, index, field = "name"] = /^(zones|lines)[.[](\d+)\]?\.?(\w+)?/.exec(error.where) ?? [];
      const ofKind = drawing.shapes.filter(({ kind }) => `${kind}s` === list);
      this.#refuse(drawing.shapes.indexOf(ofKind[index]), field, error.message);
    }
  }

  #refuse(index, field, words) {
    const row = this.list.children[index];
    if (!row) {
      say(this.error, words);
      this.error.hidden = false;
      return;
    }
    this.#drawing.pick(index);
    const input = row.querySelector(`[name=${{ name: "region" }[field] ?? field}]`) ?? row.querySelector("input");
    input.setAttribute("aria-invalid", "true");
    (input.closest("label") ?? row.firstChild).after(el("span.sl-error", { role: "alert" }, words));
    input.focus();
  }
}

function clear(row) {
  for (const span of row.querySelectorAll(".sl-error")) span.remove();
  for (const input of row.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}
