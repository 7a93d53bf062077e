// Where an event's time went, from the camera's frame to the rule: one bar for each step, each beginning where the last ended.

import { el } from "./dom.js";
import { ms } from "./words.js";

const STEPS = {
  decode: "the frame is decoded and scaled",
  queue: "it waits for its turn",
  batch: "it waits for others to share a batch",
  infer: "the model looks",
  postprocess: "tracks and rules",
};

/** Bars for `spans` (step -> ms, in order, and `total`). */
export function waterfall(spans) {
  const steps = Object.entries(spans).filter(([name]) => name !== "total");
  const total = Math.max(spans.total ?? 0, steps.reduce((sum, [, value]) => sum + value, 0), 1e-6);
  let at = 0;
  const rows = steps.map(([name, value]) => {
    const left = at / total;
    at += value;
    const bar = el("span.sl-step-bar", { data: { step: name } });
    bar.style.marginLeft = `${(100 * left).toFixed(2)}%`;
    bar.style.width = `${Math.max(0.6, (100 * value) / total).toFixed(2)}%`;
    return el("li", { title: STEPS[name] ?? name }, el("span", {}, name), el("span.sl-step-track", {}, bar), el("b", {}, ms(value)));
  });
  const sum = el("li.sl-step-total", {}, el("span", {}, "in all"), el("span.sl-step-track", {}), el("b", {}, ms(spans.total)));
  return el("ol.sl-waterfall", {}, rows, sum);
}
