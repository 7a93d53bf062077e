// Where one is on the page, kept in the address's fragment: #/wall, #/wall/2, #/camera/NAME, #/camera/NAME/zones,
// #/events, #/events/ID, #/health, #/models. Back and forward work, and an address can be sent to a colleague.

export const PAGES = ["wall", "camera", "events", "health", "models"];

/** The fragment of a place. */
export function href(page, name = "", part = "") {
  return "#/" + [page, name, part].filter((piece) => piece !== "").map(encodeURIComponent).join("/");
}

/** {page, name, part} of a fragment; null if it names no page of ours. */
export function parse(fragment) {
  const pieces = fragment.replace(/^#\/?/, "").split("/");
  let decoded;
  try {
    decoded = pieces.map(decodeURIComponent);
  } catch {
    return null;
  }
  const [page, name = "", part = ""] = decoded;
  if (!PAGES.includes(page) || (page === "camera" && !name)) return null;
  return { page, name, part };
}

/** Call `onPlace` now and at each change; the result ends that. */
export function follow(onPlace) {
  const told = () => onPlace(parse(location.hash));
  addEventListener("hashchange", told);
  told();
  return () => removeEventListener("hashchange", told);
}

/** Go there; `instead` leaves no step in the history. */
export function go(place, { instead = false } = {}) {
  if (location.hash === place) return;
  if (instead) {
    history.replaceState(null, "", place);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = place;
}
