// What is drawn over the pictures, and whether a picture waits for its boxes: the person's choices, kept in the browser.

import { el } from "./dom.js";
import { LAYERS, SHOWN } from "./overlay.js";

const TAKEN = new Set([..."wehonxpfdjkv"]); // keys that mean something else
const TITLES = {
  ids: "numbers of the tracks",
  skeletons: "key points",
  ground: "the map of what is where",
  attention: "where a track's query looked, once asked: attention, not cause",
};

export class Switches {
  layers = new Set(read("sl-layers", SHOWN).filter((name) => LAYERS.includes(name)));
  #keys = new Map(); // key -> layer: the first letter of its name that is free
  #mode = localStorage.getItem("sl-mode") === "live" ? "live" : "exact";

  constructor(root, { onLayers, onMode }) {
    this.onLayers = onLayers;
    this.onMode = onMode;
    for (const name of LAYERS) {
      const key = [...name].find((letter) => !TAKEN.has(letter) && !this.#keys.has(letter));
      if (key) this.#keys.set(key, name);
    }
    this.fieldset = root.querySelector(".sl-layers");
    const keyOf = Object.fromEntries([...this.#keys].map(([key, name]) => [name, key]));
    for (const name of LAYERS) {
      const box = el("input", { type: "checkbox", name, checked: this.layers.has(name), onchange: () => this.layer(name, box.checked) });
      const title = [TITLES[name], keyOf[name] && `(${keyOf[name]})`].filter(Boolean).join(" ");
      this.fieldset.append(el("label", { title }, box, el("span", {}, name)));
    }
    this.modes = root.querySelector(".sl-mode");
    for (const button of this.modes.children) button.onclick = () => (this.mode = button.dataset.mode);
    this.#show();
  }

  /** [key, layer] of each layer that has a key. */
  get keyNames() {
    return [...this.#keys];
  }

  layerOf(key) {
    return this.#keys.get(key);
  }

  layer(name, on) {
    if (on) this.layers.add(name);
    else this.layers.delete(name);
    this.fieldset.querySelector(`[name=${name}]`).checked = on;
    localStorage.setItem("sl-layers", JSON.stringify([...this.layers]));
    this.onLayers();
  }

  get mode() {
    return this.#mode;
  }

  set mode(mode) {
    this.#mode = mode;
    localStorage.setItem("sl-mode", mode);
    this.#show();
    this.onMode(mode);
  }

  #show() {
    for (const button of this.modes.children) button.setAttribute("aria-checked", button.dataset.mode === this.#mode);
  }
}

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}
