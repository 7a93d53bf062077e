"""The picture that stands still: sky and ground, with the houses between them, drawn once for a world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import F64
from streamer.world.draw import Rgb
from streamer.world.facades import draw_facades
from streamer.world.fog import SKY_M, Fog
from streamer.world.layout import Layout
from streamer.world.light import Light
from streamer.world.texture import Cloth
from streamer.world.truth import BUILDING, GRASS, MARKING, PAVEMENT, ROAD, SKY, VEGETATION

F32 = NDArray[np.float32]
SNOW: Rgb = (238, 242, 248)
HORIZON = -0.004  # a ray that falls less than this shows sky

PAVING: dict[str, Rgb] = {
    "brick": (168, 158, 146),
    "pastel": (186, 180, 168),
    "concrete": (162, 164, 166),
    "sandstone": (190, 178, 154),
    "timber": (166, 156, 140),
    "panel": (172, 168, 160),
    "glass": (150, 154, 160),
    "stucco": (204, 190, 162),
}


def draw_background(layout: Layout, light: Light, weather: str, seed: int, fog: Fog) -> NDArray[np.uint8]:
    """Canvas (h,w,4): colour and semantic tag of everything that never moves but the props."""
    rng = np.random.default_rng([seed, 2])
    cloth = Cloth(rng)
    rays = layout.camera.rays()
    h, w = rays.shape[:2]
    colour, tags = np.empty((h, w, 3), np.float32), np.full((h, w), SKY, np.uint8)
    # A camera that does not roll has a level horizon: whole rows show the sky, those below it the ground.
    top = int(np.count_nonzero(rays[:, 0, 1] >= HORIZON))
    _sky(layout, light, weather, cloth, rays, top, colour, tags, rng)
    fog.fade(colour[:top], SKY_M * (1 - 0.9 * np.clip(rays[:top, :, 1] * 1.2, 0, 1)))
    if top < h:
        _ground(layout, light, weather, cloth, rays[top:], colour[top:], tags[top:])
        fog.fade(colour[top:], np.minimum(layout.camera.y / np.maximum(-rays[top:, :, 1], 1e-3), SKY_M))
    still = colour.copy() if fog.reach_m is not None else colour
    draw_facades(layout, light, cloth, colour, tags, rng)
    if fog.reach_m is not None:
        depth = (layout.facade_z - layout.camera.z) / rays[:, :, 2]
        fog.fade(colour, depth, (colour != still).any(axis=2))
    canvas = np.empty((h, w, 4), np.uint8)
    canvas[:, :, :3] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    canvas[:, :, 3] = tags
    return canvas


def _sky(
    layout: Layout,
    light: Light,
    weather: str,
    cloth: Cloth,
    all_rays: F64,
    top: int,
    all_colour: F32,
    all_tags: NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """Draw sky, clouds, stars and the skyline into the rows above `top`; its dice fall alike wherever that is."""
    h, w = all_rays.shape[:2]
    chance = float(rng.uniform(0.1, 0.9))
    stars: list[tuple[int, int, float]] = []
    if light.night and weather == "clear":
        # Dice of their own: the houses under a starry sky are those of any other night.
        dice = rng.spawn(1)[0]
        for _ in range(max(20, h * w // 4000)):
            stars.append((int(dice.integers(h)), int(dice.integers(w)), float(dice.uniform(30, 150))))
    skyline = np.repeat(rng.uniform(0.02, 0.11, w // 18 + 2), 18)[:w]
    if top == 0:
        return
    rays, colour, tags = all_rays[:top], all_colour[:top], all_tags[:top]
    up = rays[:, :, 1] / np.linalg.norm(rays, axis=2)
    t = np.clip(up / 0.5, 0, 1)[..., None] ** 0.7
    colour[:] = light.horizon * (1 - t) + light.zenith * t
    # Clouds lie on a plane high above: they crowd together towards the horizon.
    rise = np.maximum(up, 0.02)
    cover = cloth.at(rays[:, :, 0] / rise * 12 + 40, rays[:, :, 2] / rise * 12, soft=True)
    amount = {"clear": chance, "overcast": 0.5, "rain": 0.4, "fog": 0.0, "snow": 0.2}[weather]
    alpha = np.clip(cover * 2.2, 0, 1)[..., None] * amount * np.clip(up * 8, 0, 1)[..., None]
    colour += alpha * (light.horizon * 0.5 + 255 * 0.5 * light.ambient - colour)
    for y, x, bright in stars:
        if y < top:
            colour[y, x] += bright
    # Far roofs and tree tops behind the street's own houses.
    bumps = 0.05 + 0.02 * np.sin(np.arange(w) / (9 + h / 40)) + 0.012 * np.sin(np.arange(w) / 3.7)
    for line, tag, mix in ((skyline, BUILDING, 0.55), (bumps, VEGETATION, 0.32)):
        inside = (up < line[None, :]) & (up > -0.05)
        tone = np.array((96, 104, 118) if tag == BUILDING else (78, 104, 74)) * light.ambient
        colour[inside] = tone * (1 - mix) + light.horizon * mix
        tags[inside] = tag


def _snow_cover(kind: NDArray[np.uint8], z: F64, road_m: float, coarse: F64, fine: F64) -> F64:
    """How much of the ground is white, (h,w): grass wholly, pavements nearly, the road between its wheel tracks."""
    most = np.select([kind == GRASS, kind == PAVEMENT, kind == MARKING], [0.97, 0.84, 0.4], 0.6)
    tracks = np.exp(-(((np.mod(z / (road_m / 2), 1) - 0.5) * 4.2) ** 2)) * np.isin(kind, (ROAD, MARKING))
    return np.asarray(np.clip(most * (1 - 0.75 * tracks) + 0.16 * coarse + 0.05 * fine, 0.05, 1), np.float64)


def _lamp_light(layout: Layout, x: F64, z: F64) -> F64:
    """How brightly the lamps light the ground at (x, z), 0..about 1."""
    total = np.zeros_like(x)
    for prop in layout.props:
        if prop.kind == "lamp":
            total += np.exp(-((x - prop.x) ** 2 + (z - prop.z) ** 2) / 16.0)
    return total


def _ground(
    layout: Layout, light: Light, weather: str, cloth: Cloth, rays: F64, colour: F32, tags: NDArray[np.uint8]
) -> None:
    """Draw the ground where these rays (h,w,3), all below the horizon, meet it."""
    camera, road_m = layout.camera, layout.road_m
    reach = camera.y / -rays[:, :, 1]
    x, z = camera.x + rays[:, :, 0] * reach, camera.z + rays[:, :, 2] * reach
    # Fine patterns end where a pixel is as wide as they are.
    fade = np.clip(1.2 - reach * 2.2 / camera.focal_px * 8, 0, 1)
    coarse, fine = cloth.at(x * 9.0, z * 9.0), cloth.at(x * 48.0, z * 48.0) * fade
    base = np.empty((*x.shape, 3))
    kind = np.full(x.shape, PAVEMENT, np.uint8)
    on_road = (z >= 0) & (z < road_m)
    lawn = (z < -layout.near_pavement_m) | (z > layout.facade_z + 6)
    slabs = ~(on_road | lawn)
    base[slabs] = _slabs(PAVING[layout.theme], x[slabs], z[slabs], coarse[slabs], fine[slabs], fade[slabs])
    at = x[on_road], z[on_road], coarse[on_road], fine[on_road]
    if layout.plaza:
        base[on_road] = _stones(*at, fade[on_road])
    else:
        base[on_road], kind[on_road] = _road(layout, *at)
        kerb = ((z > -0.22) & (z < 0)) | ((z >= road_m) & (z < road_m + 0.22))
        base[kerb] = np.array((186, 184, 178)) * 1.04
        face = (z >= road_m - 0.07) & (z < road_m + 0.05)
        base[face] = np.array((110, 108, 106))
    base[lawn] = np.array((88, 118, 58)) * (1 + 0.22 * coarse[lawn] + 0.2 * fine[lawn])[:, None]
    kind[lawn] = GRASS
    if weather == "snow":
        base += _snow_cover(kind, z, road_m, coarse, fine)[..., None] * (np.array(SNOW) - base)
    glow = _lamp_light(layout, x, z)[..., None] if light.lamps else 0.0
    lighting = light.ambient * 0.98 + np.array((0.85, 0.68, 0.42)) * np.minimum(glow, 1.1) * 0.75
    if weather == "rain":
        lighting = lighting * np.where(kind[..., None] == GRASS, 0.95, 0.84)
        base = base * 0.9 + light.horizon * 0.1
    base *= lighting
    if weather == "rain":  # puddles mirror the sky
        pool = np.clip(coarse * 1.5 - 0.1, 0, 0.55)[..., None] * (kind[..., None] != GRASS)
        base += pool * (light.horizon * 0.8 - base)
    hazy = int(np.count_nonzero(reach[:, 0] > 30))  # rows: the reach is one for the whole of a row
    haze = np.clip((reach[:hazy] - 30) / 160, 0, 0.6)[..., None]
    base[:hazy] += haze * (light.horizon - base[:hazy])
    colour[:] = base
    tags[:] = kind


def _joints(x: F64, z: F64, fade: F64) -> F64:
    return np.asarray(((np.mod(x, 0.8) < 0.05) | (np.mod(z, 0.6) < 0.05)) * fade, np.float64)


def _slabs(paving: Rgb, x: F64, z: F64, coarse: F64, fine: F64, fade: F64) -> F64:
    """Pavement (N,3) at N places: slabs with joints, each slab a little different."""
    slab_x, slab_z = np.floor(x / 0.8), np.floor(z / 0.6)
    speckle = np.mod(np.mod(slab_x * 37 + slab_z * 91, 17) * 7, 17) / 17 - 0.5
    tone = 1 + 0.07 * coarse + 0.04 * fine + 0.10 * speckle * fade - 0.22 * _joints(x, z, fade)
    return np.asarray(np.array(paving, float) * tone[:, None], np.float64)


def _stones(x: F64, z: F64, coarse: F64, fine: F64, fade: F64) -> F64:
    """A square's paving (N,3): two tones in a chequer."""
    band = np.mod(np.floor(x / 3.2) + np.floor(z / 3.2), 2)
    tone = 1 + 0.06 * coarse + 0.05 * fine - 0.08 * band - 0.15 * _joints(x, z, fade)
    return np.asarray(np.array((172, 164, 152)) * 0.96 * tone[:, None], np.float64)


def _road(layout: Layout, x: F64, z: F64, coarse: F64, fine: F64) -> tuple[F64, NDArray[np.uint8]]:
    """Worn asphalt with its markings at N places: colours (N,3) and tags (N,)."""
    road_m = layout.road_m
    wear = np.exp(-(((np.mod(z / (road_m / 2), 1) - 0.5) * 2.4) ** 2)) * 0.06
    base = np.array((88, 89, 93)) * (1 + 0.09 * coarse + 0.07 * fine)[:, None] * (1 - wear)[:, None]
    dash = (np.abs(z - road_m / 2) < 0.08) & (np.mod(x, 4.0) < 2.2)
    mark = dash | (np.abs(z - 0.35) < 0.06) | (np.abs(z - road_m + 0.35) < 0.06)
    if layout.crossing_x is not None:
        at = x - layout.crossing_x
        mark = (mark & (np.abs(at) > 2.0)) | ((np.abs(at) < 1.7) & (np.mod(z, 1.0) < 0.52))
    base[mark] = np.array((214, 212, 202)) * (1 + 0.1 * coarse[mark])[:, None]
    return base, np.where(mark, np.uint8(MARKING), np.uint8(ROAD))
