"""The hour and the weather as light: sky colours, the colour of the light, the sun's shadow, the lamps at night."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamer.world.camera import F64

# hour: zenith, horizon, light on surfaces (1 = as painted)
_KEYS: tuple[tuple[float, tuple[int, int, int], tuple[int, int, int], tuple[float, float, float]], ...] = (
    (0.0, (10, 14, 32), (28, 34, 58), (0.40, 0.43, 0.57)),
    (5.0, (18, 24, 50), (60, 58, 84), (0.44, 0.46, 0.58)),
    (6.5, (92, 116, 168), (242, 178, 138), (0.80, 0.68, 0.62)),
    (8.5, (92, 150, 214), (216, 226, 232), (0.98, 0.93, 0.86)),
    (12.5, (70, 138, 218), (196, 220, 238), (1.06, 1.04, 1.00)),
    (16.5, (84, 142, 208), (226, 220, 206), (1.02, 0.95, 0.84)),
    (18.5, (78, 84, 140), (246, 152, 96), (0.82, 0.62, 0.54)),
    (20.0, (34, 40, 82), (128, 82, 96), (0.54, 0.49, 0.60)),
    (21.5, (12, 16, 38), (36, 40, 66), (0.42, 0.44, 0.58)),
    (24.0, (10, 14, 32), (28, 34, 58), (0.40, 0.43, 0.57)),
)


@dataclass(frozen=True, slots=True)
class Light:
    """Sky colours (3,) in grey levels, `ambient` (3,) factor; `sun_xz` metres of shadow per metre of height."""

    zenith: F64
    horizon: F64
    ambient: F64
    shadow: float
    sun_xz: tuple[float, float]
    night: bool
    lamps: bool
    snow: bool = False


def light_at(hour: float, weather: str) -> Light:
    """The light at this hour under this weather; `shadow` is how dark a cast shadow is, 0..1."""
    hours = [k[0] for k in _KEYS]

    def blend(column: int) -> F64:
        values = np.array([k[column] for k in _KEYS], float)
        return np.array([np.interp(hour, hours, values[:, c]) for c in range(3)])

    zenith, horizon, ambient = blend(1), blend(2), blend(3)
    day = float(np.clip((math.sin((hour - 5.6) / 13.6 * math.pi) if 5.6 < hour < 19.2 else 0.0) * 1.6, 0, 1))
    shadow = 0.16 + 0.34 * day
    if weather != "clear":
        grey = {"overcast": 0.75, "snow": 0.9}.get(weather, 0.85)
        dim = {"overcast": 0.93, "snow": 0.95, "fog": 0.9}.get(weather, 0.84)
        zenith, horizon = (
            c * (1 - grey) + c.mean() * grey * np.array([0.97, 1.0, 1.03]) for c in (zenith, horizon)
        )
        zenith, horizon = zenith * 0.55 + horizon * 0.42, horizon * dim
        ambient = (ambient * 0.45 + ambient.mean() * 0.55) * dim
        shadow *= {"fog": 0.12, "snow": 0.25}.get(weather, 0.35)
        if weather in ("fog", "snow"):  # the whole sky is one pale sheet
            zenith = zenith * 0.3 + horizon * 0.7
    angle = (hour - 12.5) / 7 * 1.25  # the sun's way from one end of the street to the other
    reach = min(1.6, abs(math.tan(angle)) * 0.8) if 6 < hour < 19 and weather == "clear" else 0.1
    return Light(
        zenith,
        horizon,
        ambient,
        shadow,
        (math.copysign(reach, angle), -0.25),
        hour < 5.9 or hour > 19.4,
        hour < 6.4 or hour > 18.9,
        weather == "snow",
    )
