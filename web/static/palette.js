// Colours of identities, classes and heat: even in perceived lightness (OKLCH), so that a line or a tag reads alike in every hue.
//
// A track keeps its colour for life: it follows from the id alone, here and in pictures that the server draws.

const GOLDEN_DEG = 137.508; // keeps neighbouring ids far apart on the wheel
const CHROMA = 0.15;
const LIGHTNESS = [0.8, 0.71]; // by turns, so that two ids of like hue still differ

/** sRGB bytes [r, g, b] of an OKLCH colour (Ottosson 2020), cut to what a screen can show. */
export function rgbOfOklch(lightness, chroma, hueDeg) {
  const hue = (hueDeg * Math.PI) / 180;
  const [a, b] = [chroma * Math.cos(hue), chroma * Math.sin(hue)];
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => {
    const light = Math.min(1, Math.max(0, linear));
    return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
  });
}

const KINDS = 720; // the ids that are told apart by colour; later ones begin again, so the table stays small
const table = new Array(KINDS);

/** The colour of an identity: {rgb: [r, g, b], css(alpha)}. */
export function colourOf(id) {
  const at = ((id % KINDS) + KINDS) % KINDS;
  return (table[at] ??= colour(rgbOfOklch(LIGHTNESS[at % 2], CHROMA, at * GOLDEN_DEG)));
}

function colour(rgb) {
  const [r, g, b] = rgb;
  const solid = `rgb(${r} ${g} ${b})`;
  return { rgb, css: (alpha = 1) => (alpha === 1 ? solid : `rgb(${r} ${g} ${b} / ${alpha})`) };
}

/** A pixel for a Uint32Array over RGBA bytes (little-endian, as every browser's machine is). */
export const packed = ([r, g, b], alpha) => ((Math.round(255 * alpha) << 24) | (b << 16) | (g << 8) | r) >>> 0;

// Cityscapes' colours, which people of the field know by heart; other classes take an identity's.
const GROUND = {
  road: [128, 64, 128],
  sidewalk: [244, 35, 232],
  pavement: [244, 35, 232],
  building: [70, 70, 70],
  wall: [102, 102, 156],
  fence: [190, 153, 153],
  pole: [153, 153, 153],
  "traffic light": [250, 170, 30],
  "traffic sign": [220, 220, 0],
  vegetation: [107, 142, 35],
  tree: [107, 142, 35],
  terrain: [152, 251, 152],
  grass: [152, 251, 152],
  sky: [70, 130, 180],
  person: [220, 20, 60],
  rider: [255, 0, 0],
  car: [0, 0, 142],
  truck: [0, 0, 70],
  bus: [0, 60, 100],
  train: [0, 80, 100],
  motorcycle: [0, 0, 230],
  bicycle: [119, 11, 32],
};

/** The colour [r, g, b] of class `value` of a semantic map whose classes are `names`. */
export const groundOf = (value, names) => GROUND[names?.[value]] ?? colourOf(value).rgb;

// Inferno's road from dark to light (matplotlib, CC0), at five posts.
const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** 256 packed pixels: the colour of heat 0..255, more opaque the hotter, so that the cold picture stays to be seen. */
export const HEAT_PIXELS = Uint32Array.from({ length: 256 }, (_, heat) => {
  const at = (heat / 255) * (HEAT.length - 1);
  const post = Math.min(HEAT.length - 2, Math.floor(at));
  const part = at - post;
  const rgb = HEAT[post].map((low, i) => Math.round(low + (HEAT[post + 1][i] - low) * part));
  return packed(rgb, 0.78 * Math.min(1, (heat / 255) * 1.6));
});
