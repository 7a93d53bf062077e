"""The synthetic camera: a street at real time, for any url like `world://street?seed=7&people=6&weather=rain`.

It keeps the beat of its clock. A host too slow for it loses frames, as a real camera's viewer would, and never gains
delay: the street moves on undrawn to the frame that is due now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from streamer.clock import Clock
from streamer.errors import SightlineError, SourceCode, SourceError
from streamer.ports import PictureTap, SourceInfo
from streamer.sources.connection import SourceSpec
from streamer.sources.fitting import laid
from streamer.sources.timeline import Thinner
from streamer.types import TICKS_90K, U8, Fit, Frame, FrameRef, FrameTruth, Hw, frozen_array
from streamer.world import ACTIONS, LABELS, TEST_THEMES, THEMES, VIEWS, WEATHERS, Truth, World, WorldConfig
from streamer.world.events import on_edge

DEFAULT_SIZE = "640x360"
DEFAULT_SEED = 1
PLACE = "street"
# After a longer pause (a host that slept) the street goes on from where it was, instead of living through all of it.
_MAX_CATCH_UP_S = 10.0


def _size(text: str) -> Hw:
    width, x, height = text.lower().partition("x")
    if not x:
        raise ValueError(text)
    return int(height), int(width)


# key of the url: (how its text is read, what it should look like)
_KEYS: dict[str, tuple[Callable[[str], Any], str]] = {
    "seed": (int, "a whole number"),
    "people": (int, "a whole number"),
    "vehicles": (int, "a whole number"),
    "dogs": (int, "a whole number"),
    "weather": (str, f"one of {', '.join(WEATHERS)}"),
    "theme": (str, f"one of {', '.join((*THEMES, *TEST_THEMES))}"),
    "hour": (float, "an hour of the day, 0 to 24"),
    "noise": (float, "a number of grey levels, 0 for none"),
    "view": (str, f"one of {', '.join(VIEWS)}"),
    "shake": (float, "pixels of a picture 144 rows high, 0 for none"),
    "zoom": (float, "a share, 0 for none to 1 for twice as near"),
    "blur": (float, "a sigma in pixels of a picture 144 rows high, 0 for none"),
    "exposure": (float, "a share, 0 for none to 1 for half and twice as bright"),
    "lookalikes": (float, "the share of people in one uniform, 0 to 1"),
    "events": (float, "how much happens, 0 for nothing to 1"),
    "compression": (int, "a JPEG quality, 2 to 95, or 0 for none"),
    "fps": (float, "frames a second"),
    "size": (_size, f"WIDTHxHEIGHT, like {DEFAULT_SIZE}"),
}


def parse_world_url(url: str, *, where: str = "") -> WorldConfig:
    """The world that a `world://street?key=value&…` url describes; raises SourceError (INVALID) in one line."""

    def bad(what: str, mend: str) -> SourceError:
        return SourceError(f"{url}: {what}", code=SourceCode.INVALID, retryable=False, where=where, mend=mend)

    parts = urlsplit(url.strip())
    place = parts.netloc + parts.path.rstrip("/")
    if parts.scheme.lower() != "world" or place != PLACE or parts.fragment:
        raise bad(f"there is no world {place or url!r}", f"write world://{PLACE}?seed=7")
    values: dict[str, Any] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _KEYS:
            raise bad(f"unknown key {key!r}", f"use {', '.join(_KEYS)}")
        if key in values:
            raise bad(f"{key} is given twice", "keep one")
        read, looks = _KEYS[key]
        try:
            values[key] = read(text)
        except ValueError:
            raise bad(f"{key}={text} makes no sense", f"give {looks}") from None
    height, width = values.pop("size", None) or _size(DEFAULT_SIZE)
    try:
        return WorldConfig(seed=values.pop("seed", DEFAULT_SEED), height=height, width=width, **values)
    except SightlineError as error:
        raise bad(error.what, error.mend) from None


class WorldSource:
    """A street as a `Source`. Live, unless the stream says `realtime: false`: then as fast as it is read.

    `skipped` counts frames that were due but never drawn because the reader was late; `thinned` those left out for
    `max_fps`. Both, and `last_truth`, may be read from any thread.
    """

    def __init__(
        self,
        spec: SourceSpec,
        *,
        epoch: int,
        input_hw: Hw,
        clock: Clock,
        tap: PictureTap | None = None,
        fit: Fit = Fit.STRETCH,
    ) -> None:
        self._spec = spec
        self._epoch = epoch
        self._input_hw = input_hw
        self._fit = fit
        self._clock = clock
        self._tap = tap
        self._closed = threading.Event()
        self._config = parse_world_url(spec.url, where=f"stream {spec.name}")
        self._world: World | None = None
        self._live = spec.realtime is not False
        self._last_truth: Truth | None = None
        self.skipped = 0
        self.thinned = 0

    @property
    def last_truth(self) -> Truth | None:
        """What is true of the frame that came last, in pixels of the camera's own picture; None before the first."""
        return self._last_truth

    def open(self) -> SourceInfo:
        """Build the street. Raises SourceError if it was closed meanwhile."""
        if self._closed.is_set():
            raise SourceError(
                f"{self._spec.url}: it was closed while it was being opened",
                code=SourceCode.LOST,
                where=f"stream {self._spec.name}",
            )
        config = self._config
        self._world = World(config)
        return SourceInfo("world", config.width, config.height, config.fps, self._live)

    def frames(self) -> Iterator[Frame]:
        """The street's frames for ever, at the engine's size; ends soon after `close`."""
        world = self._world
        if world is None:
            raise RuntimeError("frames() before open()")
        if self._tap is not None:
            self._tap.no_packets("no packets: drawn")
        fps = self._config.fps
        time_base = Fraction(1, TICKS_90K)
        thinner = Thinner(self._spec.max_fps)
        began_ns = self._clock.monotonic_ns()
        seq = 0
        slot = 0  # the beat: frame number since the start in real time
        while not self._closed.is_set():
            if self._live:
                late_s = (self._clock.monotonic_ns() - began_ns) / 1e9 - slot / fps
                if late_s < 0 and self._clock.wait(self._closed, -late_s):
                    return
                missed = int(late_s * fps) if late_s > 0 else 0
                if missed:
                    world.skip(min(missed, int(_MAX_CATCH_UP_S * fps)))
                    self.skipped += missed
                    slot += missed
            if thinner.keeps(slot / fps):
                yield self._frame(world, seq, round(slot * TICKS_90K / fps), time_base)
                seq += 1
            else:
                world.skip(1)
                self.thinned += 1
            slot += 1

    def close(self) -> None:
        """Safe from any thread and more than once; `frames` ends at once."""
        self._closed.set()

    def _frame(self, world: World, seq: int, pts: int, time_base: Fraction) -> Frame:
        picture, self._last_truth = world.step()
        # The picture is taken when it has been drawn: drawing stands for the camera's exposure.
        captured_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        ref = FrameRef(self._spec.name, self._epoch, seq, pts, time_base, captured_ns, wall_ns)
        full = frozen_array(picture)
        source_hw = picture.shape[0], picture.shape[1]
        small = laid(partial(_resized, full), source_hw, self._input_hw, self._fit)
        if self._tap is not None and self._tap.wanted:
            self._tap.offer(ref, full)
        truth = frame_truth(self._last_truth)
        return Frame(ref, small, source_hw, self._clock.monotonic_ns(), truth)


def frame_truth(truth: Truth) -> FrameTruth:
    """What travels with a frame of the world: its objects, and how many pixels of each are seen, without the maps."""
    # a box is the extent of what is seen of its object: no pixel of it lies elsewhere
    seen = [
        np.count_nonzero(truth.instances[y0:y1, x0:x1] == row)
        for row, (x0, y0, x1, y1) in enumerate(truth.boxes_xyxy.astype(int).tolist())
    ]
    return FrameTruth(
        number=truth.frame,
        time_s=truth.time_s,
        boxes_xyxy=truth.boxes_xyxy,
        labels=truth.labels,
        ids=truth.ids,
        pixels=frozen_array(np.array(seen, np.int64)),
        visibility=truth.visibility,
        actions=truth.actions,
        label_names=LABELS,
        action_names=ACTIONS,
        events=tuple((event.kind, event.id) for event in truth.events if event.id is not None),
        on_edge=on_edge(truth),
    )


def _resized(picture: U8, hw: Hw) -> U8:
    if picture.shape[:2] == hw:
        return picture
    height, width = hw
    shrinks = height <= picture.shape[0] and width <= picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)
