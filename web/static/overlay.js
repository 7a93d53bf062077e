// Draws one result over the picture: ground, masks, trails, boxes, skeletons, labels. Knows nothing of video or network.

export const LAYERS = ["boxes", "labels", "masks", "trails", "skeletons", "ground"];
export const SHOWN = LAYERS.filter((name) => name !== "ground"); // until the person says otherwise

const LIMBS = [
  ["head", "left_shoulder", "right_shoulder", "head"],
  ["left_shoulder", "left_elbow", "left_wrist"],
  ["right_shoulder", "right_elbow", "right_wrist"],
  ["left_shoulder", "left_hip", "right_hip", "right_shoulder"],
  ["left_hip", "left_knee", "left_ankle"],
  ["right_hip", "right_knee", "right_ankle"],
];
const SEEN = 0.3; // a key point of a lower score is not drawn
const UNSEEN = 255; // in a map of classes: the model did not look

/** One colour per identity: the golden angle keeps neighbouring ids far apart on the wheel. */
export const hueOf = (id) => (id * 137.508) % 360;
const colour = (id, alpha = 1) => `hsl(${hueOf(id)} 90% 62% / ${alpha})`;

/**
 * Paint the foreground of a column-major run-length mask into `pixels` (Uint32, row-major, width w) as one colour.
 * `counts` alternate background and foreground, starting with background.
 */
export function paintMask(pixels, { size_hw: [h, w], counts }, rgba) {
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    if (i % 2 === 1) paintRun(pixels, h, w, at, at + counts[i], rgba);
    at += counts[i];
  }
}

/** Paint a map of classes, runs of `values`, into `pixels`; `rgbaOf` gives a class its colour. */
export function paintMap(pixels, { size_hw: [h, w], values, counts }, rgbaOf) {
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    if (values[i] !== UNSEEN) paintRun(pixels, h, w, at, at + counts[i], rgbaOf(values[i]));
    at += counts[i];
  }
}

function paintRun(pixels, h, w, at, end, rgba) {
  let column = Math.floor(at / h);
  let row = at - column * h;
  for (let k = at; k < end; k++) {
    pixels[row * w + column] = rgba;
    if (++row === h) [row, column] = [0, column + 1];
  }
}

/** The lines of a skeleton, [[x, y], [x, y]] each, between key points that are seen. */
export function bones(points, names) {
  const place = new Map(names.map((name, i) => [name, points[i]]));
  const seen = (point) => point && point[2] >= SEEN;
  const found = [];
  for (const limb of LIMBS) {
    for (let i = 1; i < limb.length; i++) {
      const [from, to] = [place.get(limb[i - 1]), place.get(limb[i])];
      if (seen(from) && seen(to)) found.push([from.slice(0, 2), to.slice(0, 2)]);
    }
  }
  return found;
}

export class Overlay {
  #canvas;
  #ctx;
  #layer = document.createElement("canvas"); // masks are painted at their own size and stretched by the browser

  constructor(canvas) {
    this.#canvas = canvas;
    this.#ctx = canvas.getContext("2d");
  }

  /** Give the canvas the picture's size, or the screen's where that is finer (so that text stays crisp). */
  resize(pictureWidth, pictureHeight) {
    if (!pictureWidth || !pictureHeight) return;
    const shown = this.#canvas.clientWidth * Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(Math.max(pictureWidth, shown));
    const height = Math.round((width * pictureHeight) / pictureWidth);
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
  }

  clear() {
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.#ctx.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** Draw `result`; `layers` is a Set of LAYERS, `trails` a Map id -> points. `sure` false draws it faded. */
  draw(result, { layers, trails, sure = true }) {
    this.clear();
    const ctx = this.#ctx;
    const [sourceH, sourceW] = result.source_hw;
    const unit = this.#onePixel(sourceW);
    ctx.setTransform(this.#canvas.width / sourceW, 0, 0, this.#canvas.height / sourceH, 0, 0);
    ctx.globalAlpha = sure ? 1 : 0.55;
    if (layers.has("ground") && result.semantic) this.#ground(result.semantic, sourceW, sourceH);
    if (layers.has("masks")) this.#masks(result.objects, sourceW, sourceH);
    if (layers.has("trails")) for (const [id, points] of trails) this.#trail(id, points, unit);
    if (layers.has("boxes")) for (const object of result.objects) this.#box(object, unit);
    if (layers.has("skeletons") && result.keypoint_names) {
      for (const object of result.objects) this.#skeleton(object, result.keypoint_names, unit);
    }
    if (layers.has("labels")) {
      const does = new Map((result.actions ?? []).map((action) => [action.track_id, action]));
      for (const object of result.objects) {
        this.#label(object, unit, sourceW);
        if (does.has(object.id)) this.#action(object, does.get(object.id), unit, sourceW, sourceH);
      }
    }
    ctx.globalAlpha = 1;
  }

  /** How many picture pixels one CSS pixel covers. */
  #onePixel(sourceW) {
    const shown = this.#canvas.clientWidth || sourceW;
    return sourceW / shown;
  }

  #masks(objects, sourceW, sourceH) {
    const bySize = new Map();
    for (const object of objects) {
      if (!object.mask) continue;
      const key = object.mask.size_hw.join("x");
      if (!bySize.has(key)) bySize.set(key, []);
      bySize.get(key).push(object);
    }
    for (const group of bySize.values()) {
      this.#stretched(group[0].mask.size_hw, sourceW, sourceH, (pixels) => {
        for (const { id, mask } of group) paintMask(pixels, mask, packed(hueOf(id), 0.42));
      });
    }
  }

  #ground(map, sourceW, sourceH) {
    this.#stretched(map.size_hw, sourceW, sourceH, (pixels) => {
      paintMap(pixels, map, (value) => packed(hueOf(value), 0.3));
    });
  }

  /** What `paint` puts into a grid of pixels, over the whole picture. */
  #stretched([h, w], sourceW, sourceH, paint) {
    this.#layer.width = w;
    this.#layer.height = h;
    const layerCtx = this.#layer.getContext("2d");
    const image = layerCtx.createImageData(w, h);
    paint(new Uint32Array(image.data.buffer));
    layerCtx.putImageData(image, 0, 0);
    this.#ctx.imageSmoothingQuality = "high";
    this.#ctx.drawImage(this.#layer, 0, 0, sourceW, sourceH);
  }

  #skeleton({ id, keypoints }, names, unit) {
    if (!keypoints) return;
    const ctx = this.#ctx;
    ctx.lineCap = "round";
    for (const [width, style] of [[3.5, "rgb(0 0 0 / 0.45)"], [1.75, colour(id)]]) {
      ctx.lineWidth = width * unit;
      ctx.strokeStyle = style;
      ctx.beginPath();
      for (const [from, to] of bones(keypoints, names)) {
        ctx.moveTo(...from);
        ctx.lineTo(...to);
      }
      ctx.stroke();
    }
    ctx.fillStyle = "#fff";
    for (const [x, y, score] of keypoints) {
      if (score < SEEN) continue;
      ctx.beginPath();
      ctx.arc(x, y, 1.6 * unit, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  #trail(id, points, unit) {
    const ctx = this.#ctx;
    ctx.lineWidth = 2.5 * unit;
    ctx.lineCap = ctx.lineJoin = "round";
    for (let i = 1; i < points.length; i++) {
      ctx.strokeStyle = colour(id, 0.1 + (0.8 * i) / points.length);
      ctx.beginPath();
      ctx.moveTo(...points[i - 1]);
      ctx.lineTo(...points[i]);
      ctx.stroke();
    }
  }

  #box({ id, box_xyxy: [x1, y1, x2, y2] }, unit) {
    const ctx = this.#ctx;
    const path = () => {
      ctx.beginPath();
      ctx.roundRect(x1, y1, x2 - x1, y2 - y1, 3 * unit);
      ctx.stroke();
    };
    ctx.lineWidth = 3.5 * unit; // a dark edge keeps the line visible on any ground
    ctx.strokeStyle = "rgb(0 0 0 / 0.45)";
    path();
    ctx.lineWidth = 1.75 * unit;
    ctx.strokeStyle = colour(id);
    path();
  }

  #label({ id, label, score, box_xyxy: [x1, y1, x2] }, unit, sourceW) {
    const small = sourceW / unit < 560; // a phone, or a tile of the wall: only the number fits
    const roomy = !small && x2 - x1 > 70 * unit;
    const text = small ? `${id}` : roomy ? `${label} ${id} · ${Math.round(score * 100)}%` : `${label} ${id}`;
    const height = (small ? 13 : 16) * unit;
    const top = y1 >= height + unit ? y1 - height - unit : y1 + unit;
    this.#tag(text, x1, top, height, unit, sourceW, colour(id, 0.92), "#0a0d12");
  }

  #action({ id, box_xyxy: [x1, , , y2] }, { name }, unit, sourceW, sourceH) {
    const height = (sourceW / unit < 560 ? 13 : 16) * unit;
    const top = Math.min(y2 + unit, sourceH - height);
    this.#tag(name.replaceAll("_", " "), x1, top, height, unit, sourceW, "rgb(10 13 18 / 0.75)", colour(id));
  }

  #tag(text, x, top, height, unit, sourceW, ground, ink) {
    const ctx = this.#ctx;
    ctx.font = `600 ${height * 0.72}px system-ui, sans-serif`;
    const width = ctx.measureText(text).width + 9 * unit;
    const left = Math.max(0, Math.min(x - unit, sourceW - width));
    ctx.fillStyle = ground;
    ctx.beginPath();
    ctx.roundRect(left, top, width, height, 3 * unit);
    ctx.fill();
    ctx.fillStyle = ink;
    ctx.textBaseline = "middle";
    ctx.fillText(text, left + 4.5 * unit, top + height / 2 + 0.5 * unit);
  }
}

/** An hsl(hue 90% 62%) pixel as little-endian RGBA in a Uint32. */
function packed(hue, alpha) {
  const chroma = 0.9 * Math.min(0.62, 0.38);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.62 - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return ((Math.round(255 * alpha) << 24) | (channel(4) << 16) | (channel(8) << 8) | channel(0)) >>> 0;
}
