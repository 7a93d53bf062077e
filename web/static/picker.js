// The bar over the stage: a chip for each camera with its state, the pages of a wall of many, the tools of one camera.

import { el, say } from "./dom.js";
import { go, href } from "./router.js";

const WALL = "*"; // no stream may be called so

export class Picker {
  constructor(bar) {
    this.chips = bar.querySelector(".sl-picker");
    this.pager = bar.querySelector(".sl-pager");
    this.tools = bar.querySelector(".sl-camera-tools");
  }

  /** Chips for `streams`; `subject` is the one on the stage, null for the wall's page `at` of `many`. */
  show(streams, subject, { at, many }) {
    const names = streams.length > 1 ? [WALL, ...streams.map(({ name }) => name)] : streams.map(({ name }) => name);
    if (this.chips.dataset.names !== JSON.stringify(names)) {
      this.chips.dataset.names = JSON.stringify(names);
      this.chips.replaceChildren(...names.map(chip));
    }
    const here = subject?.name ?? WALL;
    for (const each of this.chips.children) {
      const on = each.dataset.stream === here;
      if (on && each.getAttribute("aria-selected") !== "true") each.scrollIntoView({ block: "nearest", inline: "nearest" });
      each.setAttribute("aria-selected", on);
      each.tabIndex = on ? 0 : -1;
      const stream = streams.find(({ name }) => name === each.dataset.stream);
      if (!stream) continue;
      each.firstElementChild.dataset.state = stream.state.state;
      each.title = [stream.state.state.toLowerCase(), stream.state.error].filter(Boolean).join(": ");
    }
    this.#showPager(Boolean(!subject && many > 1), at, many);
    this.#showTools(subject);
  }

  #showPager(shown, at, many) {
    this.pager.hidden = !shown;
    if (!shown) return;
    say(this.pager.querySelector(".sl-pager-text"), `${at} of ${many}`);
    for (const [name, page] of [["before", at - 1], ["after", at + 1]]) {
      const link = this.pager.querySelector(`[data-page=${name}]`);
      const there = page >= 1 && page <= many;
      link.classList.toggle("sl-off", !there);
      if (there) link.href = href("wall", String(page));
      else link.removeAttribute("href");
    }
  }

  #showTools(subject) {
    this.tools.hidden = !subject;
    if (!subject) return;
    const pause = this.tools.querySelector("[data-do=pause]");
    pause.dataset.paused = subject.paused;
    pause.title = subject.paused ? "Go on (p)" : "Pause (p)";
    pause.setAttribute("aria-label", subject.paused ? "Resume this stream" : "Pause this stream");
  }
}

function chip(name) {
  const all = name === WALL;
  return el(
    "button.sl-chip",
    { type: "button", role: "tab", data: { stream: name }, onclick: () => go(all ? href("wall") : href("camera", name)) },
    el(all ? "span.sl-grid-mark" : "span.sl-dot", { "aria-hidden": "true" }),
    all ? "All" : name,
  );
}
