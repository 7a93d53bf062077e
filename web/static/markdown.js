// The little Markdown that model cards use (headings, paragraphs, lists, tables, code, bold, links) as elements.
// Nothing is ever parsed as HTML.

import { el } from "./dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^\]]+\]\([^)\s]+\))/;

/** A fragment of elements for `text`. */
export function markdown(text) {
  const whole = document.createDocumentFragment();
  const lines = text.replaceAll("\r", "").split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    let end = i + 1;
    if (!line.trim()) {
      i = end;
      continue;
    }
    if (line.startsWith("```")) {
      while (end < lines.length && !lines[end].startsWith("```")) end++;
      whole.append(el("pre", {}, lines.slice(i + 1, end).join("\n")));
      end++;
    } else if (heading) {
      whole.append(el(heading[1].length === 1 ? "h3" : "h4", {}, inline(heading[2])));
    } else if (line.startsWith("|")) {
      while (end < lines.length && lines[end].startsWith("|")) end++;
      whole.append(table(lines.slice(i, end)));
    } else if (/^\s*[-*] /.test(line)) {
      while (end < lines.length && lines[end].trim() && !/^#|^\|/.test(lines[end])) end++;
      whole.append(list(lines.slice(i, end)));
    } else {
      while (end < lines.length && lines[end].trim() && !/^#|^\||^```|^\s*[-*] /.test(lines[end])) end++;
      whole.append(el("p", {}, inline(lines.slice(i, end).join(" "))));
    }
    i = end;
  }
  return whole;
}

function inline(text) {
  return text.split(INLINE).map((piece) => {
    if (piece.startsWith("`")) return el("code", {}, piece.slice(1, -1));
    if (piece.startsWith("**")) return el("strong", {}, inline(piece.slice(2, -2)));
    if (piece.startsWith("*") && piece.length > 2) return el("em", {}, piece.slice(1, -1));
    const link = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(piece);
    if (!link) return piece;
    const outside = /^https?:\/\//.test(link[2]); // a card's relative links lead to files that are not served
    return outside ? el("a", { href: link[2], rel: "noreferrer", target: "_blank" }, link[1]) : link[1];
  });
}

function table(lines) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim()));
  const body = rows.filter((cells) => !cells.every((cell) => /^:?-*:?$/.test(cell)));
  const headed = body.length < rows.length && rows[0].some(Boolean);
  const made = body.map((cells, i) =>
    el("tr", {}, cells.map((cell) => el(headed && i === 0 ? "th" : "td", {}, inline(cell)))),
  );
  return el("div.sl-table", {}, el("table", {}, el("tbody", {}, made)));
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    const start = /^\s*[-*] (.*)/.exec(line);
    if (start) items.push(start[1]);
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return el("ul", {}, items.map((item) => el("li", {}, inline(item))));
}
