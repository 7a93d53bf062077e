// Which events a person wants: camera, kind, class and time. Asked of the server, and held against each event that comes.

import { el } from "./dom.js";

const KINDS = ["appear", "leave", "action", "enter", "exit", "dwell", "cross", "up", "down"];
const SPANS = [
  ["", "any time"],
  ["900", "last 15 min"],
  ["3600", "last hour"],
  ["86400", "last day"],
  ["range", "from … to …"],
];

export class Filters {
  #since = null; // fixed when it is chosen, so that rows do not fall out while one reads

  constructor(onChange) {
    this.onChange = onChange;
    const changed = () => this.#changed();
    this.stream = select("sl-camera", "Camera", [["", "all cameras"]], changed);
    this.kind = select("sl-kind", "Kind", [["", "all kinds"], ...KINDS.map((kind) => [kind, kind])], changed);
    this.label = select("sl-class", "Class", [["", "all classes"]], changed);
    this.time = select("sl-time", "Time", SPANS, changed);
    this.from = el("input.sl-from", { type: "datetime-local", step: 1, "aria-label": "From", onchange: changed });
    this.to = el("input.sl-to", { type: "datetime-local", step: 1, "aria-label": "To", onchange: changed });
    this.range = el("div.sl-range", { hidden: true }, this.from, el("span", {}, "to"), this.to);
    this.root = el("div.sl-filters", { role: "group", "aria-label": "Filters" }, this.stream, this.kind, this.label, this.time, this.range);
    this.summary = el("button.sl-link.sl-clear", { type: "button", hidden: true, onclick: () => this.clear() }, "clear filters");
  }

  get active() {
    return [this.stream, this.kind, this.label, this.time].some(({ value }) => value);
  }

  /** The cameras that one can choose. */
  cameras(names) {
    const known = names.join("\n");
    if (this.stream.dataset.names === known) return;
    this.stream.dataset.names = known;
    const { value } = this.stream;
    fill(this.stream, [["", "all cameras"], ...names.map((name) => [name, name])], value);
  }

  /** Look at one camera (empty: all of them), as if it had been chosen. */
  camera(name) {
    if (this.stream.value === name) return;
    if (name && ![...this.stream.options].some(({ value }) => value === name)) this.stream.append(el("option", {}, name));
    this.stream.value = name;
    this.#changed();
  }

  /** Classes are offered once an event has named them. */
  learn({ attrs = {} }) {
    const { label } = attrs;
    if (!label || [...this.label.options].some(({ value }) => value === label)) return;
    const all = [...this.label.options].map(({ value }) => value).filter(Boolean);
    fill(this.label, [["", "all classes"], ...[...all, label].sort().map((name) => [name, name])], this.label.value);
  }

  clear() {
    for (const each of [this.stream, this.kind, this.label, this.time, this.from, this.to]) each.value = "";
    this.#changed();
  }

  /** As parameters of the API. */
  query() {
    const ranged = this.time.value === "range";
    return {
      stream: this.stream.value,
      kind: this.kind.value,
      label: this.label.value,
      since: ranged ? unixOf(this.from.value) : this.#since,
      until: ranged ? unixOf(this.to.value) : null,
    };
  }

  fits({ stream, kind, attrs = {}, wall_ns }) {
    const asked = this.query();
    const at = wall_ns / 1e9;
    const same = (wanted, value) => !wanted || wanted === value;
    return (
      same(asked.stream, stream) &&
      same(asked.kind, kind) &&
      same(asked.label, attrs.label) &&
      (!asked.since || at >= asked.since) &&
      (!asked.until || at < asked.until)
    );
  }

  #changed() {
    const seconds = Number(this.time.value);
    this.#since = seconds ? Math.floor(Date.now() / 1000) - seconds : null;
    this.range.hidden = this.time.value !== "range";
    this.summary.hidden = !this.active;
    this.onChange();
  }
}

const unixOf = (local) => (local ? new Date(local).getTime() / 1000 : null);

function select(name, label, options, onchange) {
  const made = el(`select.${name}`, { "aria-label": label, title: label, onchange });
  fill(made, options, "");
  return made;
}

function fill(node, options, value) {
  node.replaceChildren(...options.map(([key, words]) => el("option", { value: key }, words)));
  node.value = value;
  if (node.selectedIndex < 0) node.value = "";
}
