// Tiles on the stage: one camera or up to nine a page, each saying its state, its rate, its age and what is in it.

import { Player } from "./player.js";
import { age, dash } from "./words.js";

export const TILES = 9; // more than nine live pictures a page are told apart by nobody
const BESIDE_PX = 196; // the page's bars above and below the pictures
const USUAL_RATIO = 16 / 9;
const SMOOTH_FPS = 8; // exact mode shows analysed pictures alone: of fewer than this a second it is a slide show

export class Wall {
  players = new Map();
  #streams = new Map();
  #mode = "live";

  /** `onPick(name)` for a tile of many, `onObject(detail)` for an object that was clicked in a picture. */
  constructor(root, template, layers, { onPick, onObject }) {
    this.root = root;
    this.template = template;
    this.layers = layers;
    this.onPick = onPick;
    this.onObject = onObject;
  }

  get mode() {
    return this.#mode;
  }

  set mode(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    for (const { player, stream } of this.#shown()) player.setMode(this.#modeOf(stream));
  }

  /** Put these streams (items of GET /api/v1/streams) on the stage, in their order; others leave it. */
  show(streams) {
    const wanted = new Set(streams.map(({ name }) => name));
    for (const name of [...this.players.keys()]) if (!wanted.has(name)) this.#drop(name);
    streams.forEach((stream, i) => {
      if (!this.players.has(stream.name)) this.players.set(stream.name, this.#newPlayer(stream));
      const player = this.players.get(stream.name);
      this.#streams.set(stream.name, stream);
      player.setMode(this.#modeOf(stream));
      if (this.root.children[i] !== player.tile) this.root.insertBefore(player.tile, this.root.children[i] ?? null);
      player.setState({ ...stream.state, inside: stream.state.zone_objects });
      this.#setZones(player, stream);
      caption(player, stream);
    });
    this.root.dataset.count = streams.length;
    const columns = bestColumns(streams.length, this.root.parentElement.clientWidth, innerHeight - BESIDE_PX);
    this.root.style.setProperty("--columns", columns);
    this.root.style.setProperty("--rows", Math.ceil(streams.length / columns));
  }

  redraw() {
    for (const player of this.players.values()) player.redraw();
  }

  close() {
    this.show([]);
  }

  /** Give the player its zones and lines, unless they are being drawn. */
  #setZones(player, { zones = [], lines = [] }) {
    const said = JSON.stringify([zones, lines]);
    if (player.tile.dataset.zones === said || player.tile.classList.contains("sl-drawing")) return;
    player.tile.dataset.zones = said;
    player.setZones(zones, lines);
  }

  #drop(name) {
    const player = this.players.get(name);
    player.close();
    player.tile.remove();
    this.players.delete(name);
    this.#streams.delete(name);
  }

  #shown() {
    return [...this.players].map(([name, player]) => ({ player, stream: this.#streams.get(name) }));
  }

  /** The mode that was chosen, but live for a camera that is analysed too rarely to be watched picture by picture. */
  #modeOf({ max_fps: maxFps = null }) {
    return maxFps !== null && maxFps < SMOOTH_FPS ? "live" : this.#mode;
  }

  #newPlayer(stream) {
    const tile = this.template.content.cloneNode(true).firstElementChild;
    tile.dataset.stream = stream.name;
    const name = tile.querySelector(".sl-name");
    name.textContent = stream.name;
    name.href = `#/camera/${encodeURIComponent(stream.name)}`;
    tile.querySelector(".sl-world").hidden = stream.source !== "world";
    tile.addEventListener("sl-object", ({ detail }) => this.players.size === 1 && this.onObject(detail));
    tile.addEventListener("click", ({ target, defaultPrevented }) => {
      const own = target.closest("a, button");
      if (!defaultPrevented && !own && this.players.size > 1) this.onPick(stream.name);
    });
    this.root.append(tile);
    return new Player(tile, stream.name, this.layers, { mode: this.#modeOf(stream) });
  }
}

function caption(player, { state: s }) {
  if (s.width && s.height) sized(player.tile, s.width, s.height); // so the layout does not jump at the first picture
  player.tile.dataset.state = s.state;
  const running = s.state === "RUNNING";
  const told = running ? `${dash(s.fps, (v) => v.toFixed(1))} fps · ${age(s.last_frame_age_s)}` : s.state.toLowerCase();
  const place = player.tile.querySelector(".sl-told");
  if (place.textContent !== told) place.textContent = told;
  place.dataset.state = s.state;
  const counts = player.live ? tally(player.drawn) : "";
  const corner = player.tile.querySelector(".sl-counts");
  if (corner.textContent !== counts) corner.textContent = counts;
}

/** What is in a result: `4 person, 1 car`, the most frequent first. */
function tally(result) {
  const counts = new Map();
  for (const { label } of result?.objects ?? []) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  return sorted.map(([label, n]) => `${n} ${label}`).join(", ");
}

/** In how many columns `count` pictures are largest in a place of w x h px. */
export function bestColumns(count, w, h) {
  let [best, widest] = [1, 0];
  for (let columns = 1; columns <= count; columns++) {
    const width = Math.min(w / columns, (h / Math.ceil(count / columns)) * USUAL_RATIO);
    if (width > widest) [best, widest] = [columns, width];
  }
  return best;
}

/** The tile takes the picture's shape; the single one is as wide as the window's height lets it be. */
function sized(tile, width, height) {
  tile.style.setProperty("--ratio", `${width} / ${height}`);
  tile.style.setProperty("--w", width);
  tile.style.setProperty("--h", height);
}
