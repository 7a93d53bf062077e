// How right the answers are, where the truth is known: of drawn streets only, and the panel says so.

const HISTORY = 60; // points of a curve; the worker makes one every two seconds
const [WIDE, HIGH] = [96, 22];
const dash = (value, text) => (value === null || value === undefined ? "—" : text(value));
const share = (value) => dash(value, (v) => v.toFixed(2));
const late = (value) => dash(value, (v) => `${v.toFixed(1)} frames late`);

// name in the API, what is shown, what it means
const SHARES = [
  ["ap50", "AP50", "average precision of the shown tracks, boxes that overlap by half"],
  ["ap", "AP", "the same over overlaps of .50 to .95"],
  ["hota", "HOTA", "finding objects and keeping their identities, in one number"],
  ["deta", "DetA", "HOTA's half for finding objects"],
  ["assa", "AssA", "HOTA's half for keeping their identities"],
];
const EVENTS = { appear: "Appear P / R", leave: "Leave P / R", fall: "Fall P / R" };
// only where a zone is forbidden or a line is one-way
const ALARMS = { intrusion: "Intrusion P / R", wrong_way: "Wrong way P / R" };
const DELAYS = {
  appear: "A track appears at its third sighting.",
  leave: "A track leaves when it has been out of sight for a second.",
  fall: "Late since the person began to fall.",
  intrusion: "Late since one who trespasses could be seen.",
  wrong_way: "Late since the car could be seen; a line tells it when it is crossed.",
};

const histories = new Map(); // stream -> { frame, values: name -> [numbers] }

/** Fill `root` for `stream` (one item of GET /api/v1/streams); without a truth it is hidden. */
export function showAccuracy(root, stream) {
  const known = stream?.state.accuracy;
  root.hidden = !known;
  if (!known) return root.replaceChildren();
  const past = remember(stream.name, known);
  const told = { ...EVENTS, ...Object.fromEntries(Object.entries(ALARMS).filter(([kind]) => known.events[kind])) };
  const shown = `${stream.name} ${Object.keys(told)}`;
  if (root.dataset.shown !== shown || !root.children.length) {
    root.dataset.shown = shown;
    root.replaceChildren(heading(), ...SHARES.map(curve), box("Id switches"), ...Object.values(told).map(box));
  }
  const [head, ...boxes] = root.children;
  head.lastChild.textContent = `last ${Math.round(known.seconds)} s, ${known.frames} frames`;
  head.title = `${known.objects} clear objects; ${known.scored_total} frames scored, ${known.unscored_total} left out`;
  SHARES.forEach(([name, , title], i) => {
    fill(boxes[i], share(known[name]), title);
    boxes[i].querySelector("polyline").setAttribute("points", points(past[name]));
  });
  const switched = `objects that were given another identity; ${known.switches_total} since the worker began`;
  fill(boxes[SHARES.length], String(known.switches), switched, `${known.switches_total} in all`);
  Object.keys(told).forEach((kind, i) => fill(boxes[SHARES.length + 1 + i], ...event(kind, known.events[kind])));
}

/** What to show of one kind of event: its shares, a title, a line below. */
function event(kind, score) {
  if (!score) return ["—", "the model says nothing of what a person does", "no action head"];
  const counts = `${score.right} of ${score.told} told were right, ${score.noticed} of ${score.there} were noticed`;
  const found = `${share(score.precision)} / ${share(score.recall)}`;
  return [found, `precision / recall of the last ten minutes: ${counts}. ${DELAYS[kind]}`, late(score.delay_frames)];
}

function remember(stream, known) {
  const past = histories.get(stream) ?? { frame: -1, values: {} };
  histories.set(stream, past);
  if (known.scored_total !== past.frame) {
    past.frame = known.scored_total;
    for (const [name] of SHARES) past.values[name] = [...(past.values[name] ?? []), known[name]].slice(-HISTORY);
  }
  return past.values;
}

/** A polyline over the box, 0 at the bottom and 1 at the top; what is not known leaves no point. */
function points(values) {
  const step = WIDE / (HISTORY - 1);
  const left = WIDE - (values.length - 1) * step;
  const placed = values.map((value, i) => (value === null ? "" : `${(left + i * step).toFixed(1)},${(HIGH * (1 - value)).toFixed(1)}`));
  return placed.filter(Boolean).join(" ");
}

function heading() {
  const head = document.createElement("header");
  const [name, warning, span] = ["h2", "strong", "span"].map((tag) => document.createElement(tag));
  name.textContent = "Accuracy";
  warning.textContent = "on the synthetic world: not your camera";
  head.append(name, warning, span);
  return head;
}

function box(name) {
  const made = document.createElement("dl");
  const [dt, dd, small] = ["dt", "dd", "small"].map((tag) => document.createElement(tag));
  dt.textContent = name;
  made.append(dt, dd, small);
  return made;
}

function curve([, name]) {
  const made = box(name);
  made.lastChild.remove();
  made.insertAdjacentHTML(
    "beforeend",
    `<svg viewBox="0 -1 ${WIDE} ${HIGH + 2}" preserveAspectRatio="none" aria-hidden="true"><polyline /></svg>`,
  );
  return made;
}

function fill(made, value, title, below = "") {
  const [, dd, last] = made.children;
  if (dd.textContent !== value) dd.textContent = value;
  made.title = title;
  if (last.tagName === "SMALL" && last.textContent !== below) last.textContent = below;
}
