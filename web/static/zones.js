// Zones and lines that a person drew over a stream's picture (fractions of it), as a layer.

import { cased } from "./layers.js";
import { rgbOfOklch } from "./palette.js";

const HUES_DEG = [200, 75, 330, 140, 265, 30]; // by the order of the list; told apart from each other, not from tracks
const rgbOf = (i) => rgbOfOklch(0.85, 0.14, HUES_DEG[i % HUES_DEG.length]).join(" ");

/** `inside` maps a zone's name to how many stand in it now, where that is known. */
export function drawZones(ctx, tags, { zones, lines }, inside) {
  zones.forEach((zone, i) => drawZone(ctx, tags, zone, rgbOf(i), inside?.[zone.name]));
  lines.forEach((line, i) => drawLine(ctx, tags, line, rgbOf(zones.length + i)));
}

function drawZone(ctx, tags, { name, points }, rgb, count) {
  const { w, h, unit } = tags;
  const corners = points.map(([x, y]) => [x * w, y * h]);
  const path = () => {
    corners.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    ctx.closePath();
  };
  ctx.beginPath();
  path();
  ctx.fillStyle = `rgb(${rgb} / ${count ? 0.2 : 0.1})`;
  ctx.fill();
  ctx.setLineDash([7 * unit, 5 * unit]);
  cased(ctx, 1.5 * unit, `rgb(${rgb})`, path);
  ctx.setLineDash([]);
  const top = corners.reduce((best, corner) => (corner[1] < best[1] ? corner : best));
  const text = count === undefined ? name : `${name}: ${count}`;
  tags.put(text, top[0] + 4 * unit, [top[1] + 4 * unit], `rgb(${rgb} / 0.9)`, "#0a0d12");
}

/** The line, and at its middle an arrow to its right, seen along it: who goes that way comes in. */
function drawLine(ctx, tags, { name, start, end }, rgb) {
  const { w, h, unit } = tags;
  const [x1, y1, x2, y2] = [start[0] * w, start[1] * h, end[0] * w, end[1] * h];
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [rightX, rightY] = [-(y2 - y1) / length, (x2 - x1) / length];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const along = (from, ahead, aside) => [
    x + unit * (rightX * from * ahead - rightY * aside),
    y + unit * (rightY * from * ahead + rightX * aside),
  ];
  cased(ctx, 2.5 * unit, `rgb(${rgb})`, () => {
    ctx.moveTo(x1, y1);
    ctx.lineTo(x2, y2);
    ctx.moveTo(x, y);
    ctx.lineTo(...along(18, 1, 0));
    ctx.moveTo(...along(12, 1, 5));
    ctx.lineTo(...along(18, 1, 0));
    ctx.lineTo(...along(12, 1, -5));
  });
  tags.put(`${name} · in →`.replace("→", arrow(rightX, rightY)), x1 + 4 * unit, [y1 + 4 * unit], `rgb(${rgb} / 0.9)`, "#0a0d12");
}

const arrow = (x, y) => "→↘↓↙←↖↑↗"[(Math.round(Math.atan2(y, x) / (Math.PI / 4)) + 8) % 8];
