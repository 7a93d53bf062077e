"""The nouns. Frozen, slotted, arrays read-only; shapes in the docstrings, layout and unit in the names.

`FrameRef` names a frame anywhere; `Frame` adds pixels; `Perception` is what one pass of one trunk said about it;
`Result` is that answer with its timing and no pixels; `Event` is what a rule made of results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Hw = tuple[int, int]

TICKS_90K = 90_000


class Fit(StrEnum):
    """How a source's picture is laid into the engine's: as each model was trained.

    STRETCH fills it, whatever the aspect. PAD keeps the aspect, top left, black below or to the right. LETTERBOX keeps
    it, centred, grey (114) around. CROP fills it and cuts off, equally on both sides, what does not fit.
    """

    STRETCH = "stretch"
    PAD = "pad"
    LETTERBOX = "letterbox"
    CROP = "crop"


def frozen_array(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, marked read-only (a view, no copy)."""
    view = array.view()
    view.setflags(write=False)
    return view


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Names one frame. `epoch` grows by one at every (re)connect and is never reused; `seq` counts from 0 in an epoch.

    `pts` in units of `time_base` seconds; `captured_ns` is this host's monotonic time when the packet was read;
    `wall_ns` is Unix time: the camera's own (RTCP sender report) where it has one, else this host's at capture.
    """

    stream: str
    epoch: int
    seq: int
    pts: int
    time_base: Fraction
    captured_ns: int
    wall_ns: int

    @property
    def pts90k(self) -> int:
        """The time stamp in RTP video ticks (90 kHz), as packets and results carry it."""
        return round(self.pts * self.time_base * TICKS_90K)

    @property
    def key(self) -> str:
        """`stream:epoch:seq`, unique for ever."""
        return f"{self.stream}:{self.epoch}:{self.seq}"


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What is really in a frame of N objects, from a source that drew them; no pixels.

    `number` counts the source's frames, those that nobody read included; `time_s` is the source's own. boxes_xyxy f32
    (N, 4) source px; labels i64 (N,) into `label_names`; ids i64 (N,), never reused in an epoch; `pixels` i64 (N,) of
    each that are seen, `visibility` f32 (N,) which share of it that is; actions i64 (N,) into `action_names`, -1 none.
    `events` go on in this frame: each its kind (`fall`, `intrusion`, `wrong_way`, `left_bag`) and the id of its object.
    `on_edge` are people of whom a picture does not tell whether they trespass.
    """

    number: int
    time_s: float
    boxes_xyxy: F32
    labels: I64
    ids: I64
    pixels: I64
    visibility: F32
    actions: I64
    label_names: tuple[str, ...]
    action_names: tuple[str, ...]
    events: tuple[tuple[str, int], ...] = ()
    on_edge: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame at the engine's size: `image` uint8 (H, W, 3) RGB; `source_hw` the camera's own size in pixels.

    `decoded_ns` is this host's monotonic time when decode and resize were done. `truth` is what a source knows that
    drew the picture itself; a camera knows nothing.
    """

    ref: FrameRef
    image: U8
    source_hw: Hw
    decoded_ns: int
    truth: FrameTruth | None = None


@dataclass(frozen=True, slots=True)
class MaskRLE:
    """One binary mask, run-length coded in column-major order (COCO's uncompressed order) on a grid of `size_hw`.

    `counts` alternate background, foreground, … starting with background, and sum to H*W. The grid covers the whole
    source picture whatever its resolution, so a consumer scales it.
    """

    size_hw: Hw
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Detections:
    """N objects of one frame: `boxes_xyxy` f32 (N, 4) source px, `scores` f32 (N,), `labels` i64 (N,)."""

    boxes_xyxy: F32
    scores: F32
    labels: I64
    masks: tuple[MaskRLE, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.labels.shape != (n,):
            raise ValueError(
                f"boxes_xyxy {self.boxes_xyxy.shape}, scores {self.scores.shape}, labels {self.labels.shape}"
            )
        if self.masks is not None and len(self.masks) != n:
            raise ValueError(f"{len(self.masks)} masks for {n} objects")

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Tracks:
    """Detections with identity: `track_ids` i64 (N,) unique in stream and epoch, `ages` i64 (N,) frames since birth."""

    detections: Detections
    track_ids: I64
    ages: I64

    def __post_init__(self) -> None:
        n = len(self.detections)
        if self.track_ids.shape != (n,) or self.ages.shape != (n,):
            raise ValueError(f"track_ids {self.track_ids.shape}, ages {self.ages.shape} for {n} objects")

    def __len__(self) -> int:
        return len(self.detections)


@dataclass(frozen=True, slots=True)
class Action:
    """What is being done: by object `track_id`, or by the scene where that is None; `score` 0..1.

    `start_wall_ns` and `end_wall_ns` bound the frames it was seen in (Unix time).
    """

    name: str
    score: float
    track_id: int | None
    start_wall_ns: int
    end_wall_ns: int


@dataclass(frozen=True, slots=True)
class Perception:
    """What one pass said about one frame. `label_names[labels[i]]` names object i.

    `semantic` uint8 (h, w) class map over the whole source picture or None, classes named by `semantic_names`;
    `keypoints` f32 (N, K, 3) px x, y, score or None, named by `keypoint_names`; an object of a kind that has none has
    zeros. `actions` the likeliest first.
    """

    tracks: Tracks
    label_names: tuple[str, ...]
    semantic: U8 | None = None
    keypoints: F32 | None = None
    semantic_names: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    keypoint_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """When a frame passed each station, this host's monotonic nanoseconds (differences are what leaves the host)."""

    captured_ns: int
    decoded_ns: int
    dequeued_ns: int
    infer_start_ns: int
    infer_end_ns: int
    done_ns: int

    def waterfall_ms(self) -> dict[str, float]:
        """Milliseconds spent in decode, queue, batch, infer and postprocess, and in all, in order."""
        spans = {
            "decode": self.decoded_ns - self.captured_ns,
            "queue": self.dequeued_ns - self.decoded_ns,
            "batch": self.infer_start_ns - self.dequeued_ns,
            "infer": self.infer_end_ns - self.infer_start_ns,
            "postprocess": self.done_ns - self.infer_end_ns,
            "total": self.done_ns - self.captured_ns,
        }
        return {name: round(ns / 1e6, 3) for name, ns in spans.items()}


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one frame, without pixels. `provenance` names model, engine digest and backend.

    `truth` is the frame's; it never leaves the process.
    """

    ref: FrameRef
    source_hw: Hw
    payload: Perception
    timing: Timing
    provenance: Mapping[str, str] = field(default_factory=dict)
    truth: FrameTruth | None = None


class EventKind(StrEnum):
    """What can happen. Object events carry a track; stream events do not."""

    APPEAR = "appear"
    LEAVE = "leave"
    ACTION = "action"
    ENTER = "enter"  # a zone
    EXIT = "exit"  # a zone
    DWELL = "dwell"  # stayed in a zone for as long as it says
    CROSS = "cross"  # a line
    UP = "up"
    DOWN = "down"


# What the attribute `alarm` of an event may say.
INTRUSION, WRONG_WAY = "intrusion", "wrong_way"

EVENT_SCHEMA = "sightline.event/1"
RESULT_SCHEMA = "sightline.result/1"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. `id` is deterministic (`stream:epoch:seq:kind:track`, of a zone or line `:name` behind it):
    a redelivery is harmless.

    `wall_ns` Unix time of the frame that caused it; `track_id` None for stream events; `attrs` holds label, score,
    box_xyxy (px in the source picture), source_hw; for an action its name and start_wall_ns; for a zone or line its
    name (`zone`, `line`), `direction` (in | out) or `dwell_s`, and `alarm` (intrusion | wrong_way) where the region
    forbids it; for a stream's end error code and message;
    `latency_ms` capture to rule.
    """

    id: str
    kind: EventKind
    stream: str
    epoch: int
    seq: int
    wall_ns: int
    track_id: int | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    schema: str = EVENT_SCHEMA


def event_id(
    stream: str, epoch: int, seq: int, kind: EventKind, track_id: int | None, region: str = ""
) -> str:
    """The one rule for event ids: `stream:epoch:seq:kind:track` (`-` for no track), and `:region` behind it where a
    zone or line is meant: one frame may bring the same track into two zones."""
    ident = f"{stream}:{epoch}:{seq}:{kind}:{'-' if track_id is None else track_id}"
    return f"{ident}:{region}" if region else ident


def event_id_parts(ident: str) -> tuple[str, int, int, str, int | None, str]:
    """(stream, epoch, seq, kind, track, region) of what `event_id` made. Raises ValueError for anything else."""
    stream, epoch, seq, kind, track, *region = ident.split(":")
    if (
        not stream
        or not kind
        or len(region) > 1
        or not all(p.isascii() and p.isdigit() for p in (epoch, seq))
    ):
        raise ValueError(f"{ident[:80]!r} is no id of an event")
    return stream, int(epoch), int(seq), kind, None if track == "-" else int(track), "".join(region)


class StreamState(StrEnum):
    """The life of a stream as users see it."""

    INITIALISING = "INITIALISING"
    RUNNING = "RUNNING"
    RESTARTING = "RESTARTING"
    PAUSED = "PAUSED"
    ENDED = "ENDED"
    ERROR = "ERROR"


# Legal moves; anything else is a bug and is refused where states are set.
STREAM_MOVES: Mapping[StreamState, frozenset[StreamState]] = {
    StreamState.INITIALISING: frozenset(
        {
            StreamState.RUNNING,
            StreamState.RESTARTING,
            StreamState.ERROR,
            StreamState.ENDED,
            StreamState.PAUSED,
        }
    ),
    StreamState.RUNNING: frozenset(
        {StreamState.RESTARTING, StreamState.ENDED, StreamState.ERROR, StreamState.PAUSED}
    ),
    StreamState.RESTARTING: frozenset(
        {StreamState.RUNNING, StreamState.ENDED, StreamState.ERROR, StreamState.PAUSED}
    ),
    StreamState.PAUSED: frozenset({StreamState.INITIALISING, StreamState.ENDED}),
    StreamState.ENDED: frozenset({StreamState.INITIALISING}),
    StreamState.ERROR: frozenset({StreamState.INITIALISING, StreamState.ENDED, StreamState.PAUSED}),
}
