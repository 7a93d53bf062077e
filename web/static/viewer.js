// The page: which streams exist, where the person is, and who they are. Everything else is a part.

import { listStreams, whoAmI } from "./api.js";
import { showAccuracy } from "./accuracy.js";
import { EventDetail } from "./detail.js";
import { say } from "./dom.js";
import { EventFeed } from "./events.js";
import { HealthPage } from "./health.js";
import { Keys } from "./keys.js";
import { Manage } from "./manage.js";
import { ModelsPage } from "./models.js";
import { ObjectWhy } from "./objectwhy.js";
import { Picker } from "./picker.js";
import { Regions } from "./regions.js";
import { follow, go, href } from "./router.js";
import { Switches } from "./switches.js";
import { showRegions, showVitals } from "./vitals.js";
import { TILES, Wall } from "./wall.js";
import { iceSettings } from "./whep.js";

const POLL_MS = 1000;

export function start(root) {
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  iceSettings(); // asked beside the streams, not after them: the first player would wait for it
  window.sightline = new Viewer(root);
}

class Viewer {
  streams = [];
  worker = null;
  place = { page: "", name: "", part: "" };
  me = { role: "view", open: false };
  #known = false; // the streams have been told at least once

  constructor(root) {
    this.root = root;
    this.$ = (selector) => root.querySelector(selector);
    const dialog = (name) => this.$(`[data-dialog=${name}]`);
    this.#theme(localStorage.getItem("sl-theme"));
    this.switches = new Switches(root, {
      onLayers: () => this.wall.redraw(),
      onMode: (mode) => (this.wall.mode = mode),
    });
    this.objectWhy = new ObjectWhy(dialog("why"), {
      player: (name) => this.players.get(name),
      mayAsk: () => this.manages,
      onLayer: (name) => this.switches.layer(name, true),
    });
    this.wall = new Wall(this.$(".sl-wall"), this.$(".sl-tile-template"), this.switches.layers, {
      onPick: (name) => go(href("camera", name)),
      onObject: (detail) => this.objectWhy.open(detail),
    });
    this.wall.mode = this.switches.mode;
    this.events = new EventFeed(this.$(".sl-events"));
    this.detail = new EventDetail(this.$(".sl-detail"), {
      known: (id) => this.events.event(id),
      beside: (id, step) => this.events.beside(id, step),
    });
    this.health = new HealthPage(this.$(".sl-health-page"));
    this.models = new ModelsPage(this.$(".sl-models-page"));
    this.picker = new Picker(this.$(".sl-bar"));
    this.manage = new Manage({
      dialog,
      onAir: (parts) => {
        this.$(".sl-onair").replaceChildren(...parts);
        this.$(".sl-onair").hidden = !parts.length;
      },
      onChange: (name) => this.#changed(name),
    });
    this.regions = new Regions(this.$(".sl-regions"), {
      onDone: () => go(href("camera", this.place.name)),
      onSaved: (stream) => (this.streams = this.streams.map((each) => (each.name === stream.name ? { ...each, ...stream } : each))),
      labels: () => [...new Set((this.player?.lastResult?.objects ?? []).map(({ label }) => label))].sort(),
    });
    this.keys = new Keys(this);
    this.#wire(dialog);
    this.#poll();
    this.#whoAmI();
    follow((place) => this.#go(place));
  }

  // what tests and curious people read: the picked stream's player
  get players() {
    return this.wall.players;
  }
  get player() {
    return this.players.get(this.place.name) ?? this.players.values().next().value;
  }
  get framesDecoded() {
    return this.player?.stats.framesDecoded ?? 0;
  }
  get matched() {
    return this.player?.stats.matched ?? 0;
  }
  get unmatched() {
    return this.player?.stats.unmatched ?? 0;
  }
  get lastResult() {
    return this.player?.lastResult ?? null;
  }

  get manages() {
    return this.me.role === "manage";
  }

  /** The stream of the camera page, or undefined. */
  get subject() {
    return this.place.page === "camera" ? this.streams.find(({ name }) => name === this.place.name) : undefined;
  }

  /** What a button or a key asks for. */
  do(action, target) {
    const needed = this.$(`[data-do="${action}"]`)?.dataset.needs;
    if (needed && needed !== this.me.role) return;
    const subject = this.subject;
    const actions = {
      add: () => this.manage.openAdd(),
      help: () => this.$("[data-dialog=help]").showModal(),
      close: () => target.closest("dialog").close(),
      theme: () => this.#theme(document.body.classList.contains("dark") ? "light" : "dark"),
      full: () => this.#fullScreen(this.$(".sl-wall")),
      zones: () => subject && go(this.regions.open ? href("camera", subject.name) : href("camera", subject.name, "zones")),
      edit: () => subject && this.manage.openEdit(subject),
      remove: () => subject && this.manage.openRemove(subject),
      pause: () => subject && this.manage.pause(subject).catch((error) => this.#notice(error.message, 6000)),
    };
    actions[action]?.();
  }

  #go(place) {
    if (!place) return this.#known && this.#home();
    const moved = place.page !== this.place.page || place.name !== this.place.name;
    this.place = place;
    if (place.page === "wall" || place.page === "camera") this.events.filters.camera(place.page === "camera" ? place.name : "");
    this.#arrange();
    if (!moved) return;
    document.title = `${{ wall: "Live", camera: place.name, events: "Events", health: "Health", models: "Models" }[place.page]} – Sightline`;
    if (place.page === "events") this.#showEvent(place.name);
    if (place.page === "models") this.models.show(() => this.streams);
    else this.models.hide();
    if (place.page !== "health") this.health.hide();
    this.root.scrollTop = 0;
  }

  /** Where one begins: the only camera, or all of them. */
  #home() {
    const last = localStorage.getItem("sl-last");
    const [first] = this.streams;
    if (this.streams.length === 1) go(href("camera", first.name), { instead: true });
    else go(last && this.streams.some(({ name }) => name === last) ? href("camera", last) : href("wall"), { instead: true });
  }

  #showEvent(id) {
    this.events.pick(id);
    if (id) this.detail.show(id);
    else this.detail.hide();
  }

  async #poll() {
    await this.#ask();
    setTimeout(() => this.#poll(), POLL_MS);
  }

  async #ask() {
    try {
      const { streams, worker } = await listStreams();
      this.streams = streams;
      this.worker = worker;
      this.health.remember(streams);
      this.#notice(worker.alive ? "" : "The worker does not answer; it is being started again.");
    } catch (error) {
      this.#notice(`No connection: ${error.message}.`);
      const gone = { state: "UNREACHABLE", live: false, error: error.message };
      this.streams = this.streams.map((stream) => ({ ...stream, state: { ...stream.state, ...gone } }));
      if (this.worker) this.worker = { ...this.worker, alive: false };
    }
    if (!this.#known) {
      this.#known = true;
      if (!this.place.page) return this.#home();
    }
    this.#arrange();
  }

  async #whoAmI() {
    try {
      this.me = await whoAmI();
    } catch {
      setTimeout(() => this.#whoAmI(), 3000); // until then one may look only
      return;
    }
    this.root.dataset.role = this.me.role;
    const who = this.$(".sl-who");
    who.hidden = this.me.open || !this.me.name;
    who.textContent = this.me.name;
    who.title = `signed in as ${this.me.name}: may ${this.me.role}`;
    this.#arrange();
  }

  async #changed(name) {
    await this.#ask();
    if (name) go(href("camera", name));
  }

  #arrange() {
    const { page, name, part } = this.place;
    if (!page || !this.#known) return;
    const names = this.streams.map((stream) => stream.name);
    if (page === "camera" && !names.includes(name)) return this.#home(); // removed, here or elsewhere
    const drawing = page === "camera" && part === "zones" && this.manages;
    this.root.dataset.page = drawing ? "zones" : page;
    this.root.dataset.named = name ? "yes" : "no";
    for (const section of this.root.querySelectorAll("[data-for]")) {
      section.hidden = !section.dataset.for.split(" ").includes(page) && !(drawing && section.dataset.for === "zones");
    }
    this.$(".sl-events").hidden ||= drawing;
    for (const link of this.root.querySelectorAll(".sl-nav a")) {
      const here = link.dataset.page === (page === "camera" ? "wall" : page);
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.events.filters.cameras(names);
    this.#stage(page, names);
    if (page === "health") this.health.show(this.streams, this.worker);
    if (page === "models") this.models.tellUsers(this.streams);
    const player = this.subject && this.players.get(name);
    if (drawing && player) this.regions.show(this.subject, player);
    else this.regions.hide();
    this.root.dataset.ready = "yes";
  }

  #stage(page, names) {
    const many = Math.max(1, Math.ceil(names.length / TILES));
    const at = Math.min(many, Math.max(1, Number(this.place.name) || 1));
    const onWall = this.streams.slice((at - 1) * TILES, at * TILES);
    const { subject } = this;
    const wanted = page === "camera" ? [subject] : page === "wall" ? onWall : [];
    this.wall.show(wanted);
    if (subject) localStorage.setItem("sl-last", subject.name);
    else if (page === "wall") localStorage.removeItem("sl-last");
    this.$(".sl-empty").hidden = names.length > 0;
    this.$(".sl-underbar").hidden = names.length === 0;
    this.picker.show(this.streams, page === "camera" ? subject : null, { at, many });
    showVitals(this.$(".sl-health"), subject, this.player);
    showRegions(this.$(".sl-inside"), subject);
    showAccuracy(this.$(".sl-accuracy"), subject);
    this.root.toggleAttribute("data-accuracy", Boolean(subject?.state.accuracy));
  }

  #wire(dialog) {
    this.root.addEventListener("click", ({ target }) => {
      const asked = target.closest("[data-do]");
      if (asked) this.do(asked.dataset.do, asked);
    });
    dialog("help").querySelector(".sl-layer-keys").textContent = this.switches.keyNames.map(([key]) => key).join(" ");
    dialog("help").querySelector(".sl-layer-names").textContent = this.switches.keyNames.map(([, name]) => name).join(", ");
    addEventListener("pagehide", () => {
      this.events.close();
      this.wall.close();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  #fullScreen(element) {
    if (document.fullscreenElement) document.exitFullscreen();
    else element.requestFullscreen?.().catch(() => {});
  }

  #notice(text, forMs = 0) {
    if (this.noticeUntil > performance.now() && !text) return;
    this.noticeUntil = performance.now() + forMs;
    const notice = this.$(".sl-notice");
    notice.hidden = !text;
    say(notice, text);
  }

  #theme(choice) {
    if (!choice) return; // Gradio follows the system until the person chooses
    document.body.classList.toggle("dark", choice === "dark");
    localStorage.setItem("sl-theme", choice);
  }
}
