// An object that was clicked in a live picture: what it is, and where its query looks now.

import { whyOfTrack } from "./api.js";
import { factList } from "./dom.js";
import { WhyView } from "./why.js";

const SHOWN_MS = 4000; // heat over a moving picture soon belongs to another one

export class ObjectWhy {
  constructor(dialog, { player, mayAsk, onLayer }) {
    this.dialog = dialog;
    this.player = player;
    this.mayAsk = mayAsk;
    this.onLayer = onLayer;
  }

  /** `detail` of an `sl-object` event: {stream, track_id, object}. */
  async open({ stream, track_id: track, object }) {
    this.dialog.querySelector("h2").textContent = `${object?.label ?? "object"} ${track} on ${stream}`;
    const facts = factList([
      ["Score", object?.score?.toFixed(2)],
      ["Followed for", object?.age !== undefined ? `${object.age} frames` : ""],
    ]);
    const why = new WhyView();
    const place = this.dialog.querySelector(".sl-why-place");
    place.replaceChildren(facts);
    if (!this.dialog.open) this.dialog.showModal();
    const player = this.player(stream);
    player?.select(track); // marked for as long as it is spoken of
    this.dialog.addEventListener("close", () => player?.select(null), { once: true });
    if (!this.mayAsk()) return; // one who may only look must not set the engine to work
    place.append(why.root);
    const view = await why.ask(() => whyOfTrack(stream, track));
    if (view?.query && this.dialog.open) this.#overPicture(stream, view.query);
  }

  #overPicture(stream, query) {
    const player = this.player(stream);
    if (!player) return;
    this.onLayer("attention");
    player.setAttention(query);
    setTimeout(() => player.setAttention(null), SHOWN_MS);
  }
}
