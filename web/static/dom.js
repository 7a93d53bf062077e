// Elements made of plain data, so that what a server or a camera says is always text and never markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "polygon", "polyline", "circle", "rect", "line", "text"]);

/** `el("button.sl-icon", { onclick, title }, "text", child)`; null and false children are left out. */
export function el(spec, attrs = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) made.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attrs)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "value" || name === "checked") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A list of names and values; empty values are left out. */
export function factList(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl.sl-facts",
    {},
    shown.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** Set text only where it differs: a selection or a hovered title survives the next poll. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Show a refusal of the server at the field that it names, else at the form's end. */
export function refuseAt(form, error) {
  clearRefusals(form);
  const field = error.field && form.elements[error.field];
  const input = field instanceof RadioNodeList ? field[0] : field;
  if (input && input.offsetParent) {
    input.setAttribute("aria-invalid", "true");
    const words = error.message.startsWith(`${error.where}: `) ? error.message.slice(error.where.length + 2) : error.message;
    input.closest("label, fieldset").append(el("span.sl-error", { role: "alert" }, words));
    input.focus();
    return;
  }
  const place = form.querySelector("p.sl-error");
  place.textContent = error.message;
  place.hidden = false;
}

export function clearRefusals(form) {
  for (const span of form.querySelectorAll("span.sl-error")) span.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const place = form.querySelector("p.sl-error");
  if (place) place.hidden = true;
}
