// What shall be done with a stream's pictures: the model, what it says, how often, and which actions are events.

import { listModels } from "./api.js";
import { el } from "./dom.js";

const HEADS = { masks: "masks", keypoints: "skeletons", semantic: "ground map", actions: "actions" };

export class TaskForm {
  constructor(root, listId) {
    this.models = el("datalist", { id: listId });
    this.model = el("input", { name: "model", list: listId, autocomplete: "off", spellcheck: "false", required: true });
    this.all = el("input", { type: "checkbox", name: "all_heads", onchange: () => this.#showHeads() });
    this.heads = el("span.sl-heads", {}, Object.entries(HEADS).map(([name, words]) => el("label.sl-check", {}, el("input", { type: "checkbox", name: "heads", value: name }), words)));
    this.maxFps = el("input", { name: "max_fps", inputmode: "decimal", placeholder: "every frame", autocomplete: "off" });
    this.actions = el("input", { name: "events", placeholder: "none, or: fall, wave", autocomplete: "off", spellcheck: "false" });
    root.replaceChildren(
      el("div.sl-pair", {}, el("label", {}, "Model", this.model), el("label", {}, "At most, frames a second", this.maxFps)),
      el("fieldset.sl-heads-field", {}, el("legend.sl-sr", {}, "What the model says"), el("label.sl-check", {}, this.all, "everything that the model can say"), this.heads),
      el("label", {}, "Actions that are events", this.actions),
      this.models,
    );
    this.fill({});
  }

  /** Show what a stream (an item of GET /api/v1/streams, or nothing) has now. */
  fill({ model = "street-nano", heads = null, max_fps = null, events = {} }) {
    this.model.value = model;
    this.all.checked = heads === null || heads === undefined;
    for (const box of this.heads.querySelectorAll("input")) box.checked = this.all.checked || heads.includes(box.value);
    this.maxFps.value = max_fps ?? "";
    this.actions.value = (events?.actions ?? []).join(", ");
    this.#showHeads();
    this.#offerModels();
  }

  /** As fields of a stream. An unreadable number is sent as it is: the server says what is wrong with it. */
  wishes() {
    const heads = [...this.heads.querySelectorAll("input:checked")].map(({ value }) => value);
    const fps = this.maxFps.value.trim().replace(",", ".");
    return {
      model: this.model.value.trim(),
      heads: this.all.checked ? null : heads,
      max_fps: fps === "" ? null : Number.isNaN(Number(fps)) ? fps : Number(fps),
      events: { actions: this.actions.value.split(",").map((each) => each.trim()).filter(Boolean) },
    };
  }

  #showHeads() {
    this.heads.hidden = this.all.checked;
  }

  async #offerModels() {
    if (this.models.children.length) return;
    const { models } = await listModels().catch(() => ({ models: [] })); // a name can be typed all the same
    this.models.replaceChildren(...models.map(({ name }) => el("option", { value: name })));
  }
}
