// The keyboard: every thing that a pointer can do often has a key; a field that is being typed in keeps its own.

import { go, href } from "./router.js";

const ACTIONS = { n: "add", d: "theme", f: "full", "?": "help", x: "zones", p: "pause" };
const PLACES = { w: "wall", 0: "wall", e: "events", h: "health", o: "models" };

export class Keys {
  constructor(viewer) {
    this.viewer = viewer;
    document.addEventListener("keydown", (event) => {
      const { target, ctrlKey, metaKey, altKey } = event;
      const typing = target.closest?.("input:not([type=checkbox]), select, textarea, dialog[open], video");
      if (typing || ctrlKey || metaKey || altKey) return;
      if (this.#takes(event)) event.preventDefault();
    });
  }

  #takes(event) {
    const { key, target } = event;
    const { viewer } = this;
    const { page, name } = viewer.place;
    if (viewer.regions.key(event)) return true;
    const layer = viewer.switches.layerOf(key);
    const onStage = page === "wall" || page === "camera";
    if (onStage && layer) viewer.switches.layer(layer, !viewer.switches.layers.has(layer));
    else if (onStage && key === "v") viewer.switches.mode = viewer.switches.mode === "live" ? "exact" : "live";
    else if (key in PLACES) go(href(PLACES[key]));
    else if (/^[1-9]$/.test(key) && viewer.streams[key - 1]) go(href("camera", viewer.streams[key - 1].name));
    else if (key in ACTIONS) viewer.do(ACTIONS[key]);
    else if (key === "j" || key === "k") this.#beside(key === "j" ? 1 : -1);
    else if (key === "Escape" && (name || viewer.regions.open)) go(viewer.regions.open ? href(page, name) : href(page === "events" ? "events" : "wall"));
    else if (target.role === "tab" && /^Arrow(Left|Right)$/.test(key)) return step(key, target);
    else return false;
    return true;
  }

  #beside(way) {
    const { place, events } = this.viewer;
    const next = events.beside(place.page === "events" ? place.name : "", way);
    if (next) go(href("events", next));
  }
}

function step(key, target) {
  const next = key === "ArrowRight" ? target.nextElementSibling : target.previousElementSibling;
  next?.click();
  next?.focus();
  return Boolean(next);
}
