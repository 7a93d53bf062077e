// Streams come, change and go: dialogs that say a refusal at the field it is about. A browser's own camera is a stream too.

import { addStream, patchStream, removeStream } from "./api.js";
import { clearRefusals, el, refuseAt } from "./dom.js";
import { TaskForm } from "./taskform.js";

export class Manage {
  #source = "address";
  #publications = new Map(); // stream -> Publication of this page
  #Publication = null;

  /** `dialog(name)` finds a dialog; `onChange(name)` after something changed: the stream to look at now, or none. */
  constructor({ dialog, onAir, onChange }) {
    this.dialog = dialog;
    this.onAir = onAir;
    this.onChange = onChange;
    this.addForm = dialog("add").querySelector("form");
    this.editForm = dialog("edit").querySelector("form");
    this.addTask = new TaskForm(this.addForm.querySelector(".sl-task"), "sl-models-add");
    this.editTask = new TaskForm(this.editForm.querySelector(".sl-task"), "sl-models-edit");
    this.addForm.onsubmit = (event) => this.#add(event);
    this.editForm.onsubmit = (event) => this.#edit(event);
    dialog("remove").querySelector("form").onsubmit = (event) => this.#remove(event);
    for (const button of dialog("add").querySelectorAll("[data-source]")) button.onclick = () => this.#from(button.dataset.source);
    dialog("add").addEventListener("close", () => (this.addForm.querySelector("video").srcObject = null));
  }

  openAdd() {
    clearRefusals(this.addForm);
    this.#from("address");
    this.dialog("add").showModal();
    this.#offerWebcam();
  }

  openEdit(stream) {
    this.stream = stream;
    clearRefusals(this.editForm);
    this.dialog("edit").querySelector(".sl-edit-name").textContent = stream.name;
    this.editTask.fill(stream);
    this.dialog("edit").showModal();
  }

  openRemove(stream) {
    this.stream = stream;
    this.dialog("remove").querySelector(".sl-remove-name").textContent = stream.name;
    this.dialog("remove").querySelector(".sl-error").hidden = true;
    this.dialog("remove").showModal();
  }

  /** Stop analysing a stream, or go on. Throws ApiError. */
  async pause(stream) {
    await patchStream(stream.name, { paused: !stream.paused });
    this.onChange();
  }

  async #offerWebcam() {
    const sources = this.dialog("add").querySelector(".sl-sources");
    if (this.#Publication || !navigator.mediaDevices?.getUserMedia) return; // browsers give cameras to https and localhost only
    try {
      this.#Publication = (await import("./publish.js")).Publication;
      sources.hidden = !this.#Publication;
    } catch {
      sources.hidden = true; // this server takes no video from browsers
    }
  }

  #from(source) {
    this.#source = source;
    const webcam = source === "webcam";
    for (const each of this.addForm.querySelectorAll(".sl-of-address")) each.hidden = webcam;
    for (const each of this.addForm.querySelectorAll(".sl-of-webcam")) each.hidden = !webcam;
    this.addForm.querySelector("video").hidden = true;
    for (const button of this.dialog("add").querySelectorAll("[data-source]")) button.setAttribute("aria-checked", button.dataset.source === source);
  }

  async #add(event) {
    event.preventDefault();
    const form = this.addForm;
    const name = form.elements.name.value.trim();
    await attempt(form, async () => {
      if (this.#source === "webcam") await this.#publish(name);
      else await addStream({ name, url: form.elements.url.value.trim(), loop: form.elements.loop.checked, ...this.addTask.wishes() });
      form.reset();
      this.addTask.fill({});
      this.onChange(name);
    });
  }

  async #publish(name) {
    const video = this.addForm.querySelector("video");
    video.hidden = false;
    const publication = new this.#Publication({ onState: () => this.#tellAir() });
    try {
      await publication.start(name, { video });
    } catch (error) {
      video.hidden = true;
      throw error;
    }
    this.#publications.set(name, publication);
    this.#tellAir();
    await patchStream(name, this.addTask.wishes()).catch(() => {}); // it is on air with the usual wishes until it is known
  }

  /** Which streams this page publishes, each with a button that ends it. */
  #tellAir() {
    const parts = [...this.#publications].map(([name, publication]) => {
      const stop = async () => {
        this.#publications.delete(name);
        this.#tellAir();
        await publication.stop();
      };
      const words = typeof publication.state === "string" ? publication.state : "";
      return el("span", {}, `Your camera is ${name}${words ? ` (${words})` : ""}. `, el("button.sl-link", { type: "button", onclick: stop }, "Stop"));
    });
    this.onAir(parts);
  }

  async #edit(event) {
    event.preventDefault();
    const before = this.stream;
    const wishes = this.editTask.wishes();
    const old = { model: before.model, heads: before.heads ?? null, max_fps: before.max_fps ?? null, events: { actions: before.events?.actions ?? [] } };
    const changed = Object.entries(wishes).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name]));
    await attempt(this.editForm, async () => {
      if (changed.length) await patchStream(before.name, Object.fromEntries(changed));
      this.onChange();
    });
  }

  async #remove(event) {
    event.preventDefault();
    const { name } = this.stream;
    await attempt(event.target, async () => {
      await removeStream(name);
      await this.#publications.get(name)?.stop();
      this.#publications.delete(name);
      this.#tellAir();
      this.onChange();
    });
  }
}

/** Do it and close the form's dialog, or say why not. */
async function attempt(form, action) {
  const button = form.querySelector("[type=submit]");
  clearRefusals(form);
  button.disabled = true;
  try {
    await action();
    form.closest("dialog").close();
  } catch (error) {
    button.disabled = false;
    refuseAt(form, error);
  }
  button.disabled = false;
}
