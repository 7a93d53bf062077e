"""The last frames of each stream as they were answered, so that one of them can be answered again, exactly.

Tracker state is a value, so a frame, the state before it and the same weights give the same rows again. Nothing is
copied: a moment holds the arrays that went through the lanes anyway, for a little longer. The ring is bounded in frames
and in bytes, the oldest leave first; a new epoch starts with an empty one.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from streamer.types import F32, I64, Frame, Perception

FRAMES: Final = 48
BYTES: Final = 16 << 20  # of one stream: 48 pictures of 256x144 with their states take half of it
WEIGH_EVERY: Final = 16  # frames: a stream's states hardly change in size, and weighing takes 40 µs


class Served(NamedTuple):
    """A model that streams are answered by: what opens it, its engine's name and precision."""

    address: str
    name: str
    precision: str


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame as it was answered: the stream's state `before` and `after` it, and the tracks told.

    `track_ids` i64 (N,), `boxes_xyxy` f32 (N, 4) source px. `size_bytes` is what it keeps alive.
    """

    frame: Frame
    before: Any
    after: Any
    track_ids: I64
    boxes_xyxy: F32
    size_bytes: int

    def box_of(self, track_id: int) -> F32 | None:
        """Where the track was told, (4,); None if it was not."""
        found = np.flatnonzero(self.track_ids == track_id)
        return self.boxes_xyxy[found[0]] if len(found) else None


class Ring:
    """The last moments of one stream's present epoch. Thread-safe; of `frames` 0 it keeps nothing."""

    def __init__(self, served: Served, frames: int = FRAMES, most_bytes: int = BYTES) -> None:
        self.served = served
        self._frames, self._most_bytes = frames, most_bytes
        self._moments: deque[Moment] = deque()
        self._epoch = -1
        self._lock = threading.Lock()
        self.size_bytes = 0
        self.state_bytes = 0  # of one state, when last weighed

    def put(self, moment: Moment) -> None:
        """The newest moment; the oldest make room for it."""
        if not self._frames:
            return
        with self._lock:
            if moment.frame.ref.epoch != self._epoch:
                self._epoch = moment.frame.ref.epoch
                self._moments.clear()
                self.size_bytes = 0
            self._moments.append(moment)
            self.size_bytes += moment.size_bytes
            while len(self._moments) > self._frames or self.size_bytes > self._most_bytes:
                self.size_bytes -= self._moments.popleft().size_bytes

    def of_track(
        self, track_id: int, *, epoch: int | None = None, at_most: int | None = None
    ) -> list[Moment]:
        """The moments in which the track was told, newest first; of `epoch` only, and no later than seq `at_most`."""
        with self._lock:
            moments = list(self._moments)
        return [
            moment
            for moment in reversed(moments)
            if (epoch is None or moment.frame.ref.epoch == epoch)
            and (at_most is None or moment.frame.ref.seq <= at_most)
            and (moment.track_ids == track_id).any()
        ]

    def __len__(self) -> int:
        return len(self._moments)


class Memory:
    """The rings of all streams. `recorder` makes what a pipeline keeps its frames with."""

    def __init__(self, frames: int = FRAMES, most_bytes: int = BYTES) -> None:
        self._frames, self._most_bytes = frames, most_bytes
        self._rings: dict[str, Ring] = {}
        self._lock = threading.Lock()

    def recorder(self, served: Served, *, worth: bool) -> ModelRecorder:
        """For the pipeline of a model; not `worth` it where the model has no attention to show: nothing is kept."""
        return ModelRecorder(self, served, worth)

    def ring(self, stream: str) -> Ring | None:
        """The stream's, once a frame of it was answered."""
        return self._rings.get(stream)

    def forget(self, stream: str) -> None:
        """The stream was removed."""
        with self._lock:
            self._rings.pop(stream, None)

    def begin(self, stream: str, served: Served, worth: bool) -> Ring:
        """A fresh ring for a stream that this model answers from now on."""
        ring = Ring(served, self._frames if worth else 0, self._most_bytes)
        with self._lock:
            self._rings[stream] = ring
        return ring


class ModelRecorder:
    """Implements `streamer.ports.Recorder` for one pipeline."""

    def __init__(self, memory: Memory, served: Served, worth: bool) -> None:
        self._memory, self._served, self._worth = memory, served, worth

    def keep(self, frame: Frame, before: Any, after: Any, payload: Perception) -> None:
        stream = frame.ref.stream
        ring = self._memory.ring(stream)
        if ring is None or ring.served != self._served:
            ring = self._memory.begin(stream, self._served, self._worth)
        if self._worth:
            tracks = payload.tracks
            if frame.ref.seq % WEIGH_EVERY == 0 or not ring.state_bytes:
                ring.state_bytes = held_bytes(before)
            size = frame.image.nbytes + ring.state_bytes  # `after` is the next one's `before`
            ring.put(Moment(frame, before, after, tracks.track_ids, tracks.detections.boxes_xyxy, size))


def held_bytes(value: Any) -> int:
    """The bytes of all arrays in a value of dataclasses, tuples and mappings."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if dataclasses.is_dataclass(value):
        return sum(held_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(map(held_bytes, value.values()))
    return sum(map(held_bytes, value)) if isinstance(value, tuple | list) else 0
