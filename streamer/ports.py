"""The borders between the parts. A file that needs a neighbour imports its Protocol from here, never the neighbour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamer.accuracy import Accuracy
from streamer.clock import Clock
from streamer.config import StreamConfig
from streamer.types import F32, Event, Fit, Frame, FrameRef, FrameTruth, Hw, Perception, Result, StreamState

__all__ = [
    "Clock",
    "Engine",
    "EngineSpec",
    "EventSink",
    "Explainer",
    "Looks",
    "Measure",
    "PictureTap",
    "Recorder",
    "ResultSink",
    "Scorer",
    "Source",
    "SourceInfo",
    "SourceOpener",
    "StagedEngine",
    "StagedTask",
    "Task",
    "TensorSpec",
    "Tensors",
    "ViewerCounts",
]

Tensors = Mapping[str, NDArray[Any]]
S = TypeVar("S")


# ---------------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source turned out to be once opened; `live` sources are paced by the camera and may not be blocked."""

    codec: str
    width: int
    height: int
    fps: float | None
    live: bool


class PictureTap(Protocol):
    """Takes what viewers may be shown of a stream, on the decode thread; must return fast and never raise.

    A source either offers its packets as they are, or says why it has none that a browser could play; in both cases it
    also offers the pictures while they are `wanted`.
    """

    @property
    def wanted(self) -> bool:
        """Whether pictures are needed now: somebody watches, and packets will not do."""
        ...

    def offer(self, ref: FrameRef, picture: Any) -> None:
        """The full-size picture: the decoder's own frame (an `av.VideoFrame`), or uint8 (H, W, 3) RGB if drawn."""
        ...

    def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None:
        """A picture as the camera encoded it, whether or not somebody watches, and before the same picture's `offer`.

        H.264 Annex B without B-frames; `key`: it is an IDR picture and brings its parameter sets. Each connection
        begins with a key frame and leaves none out. `ref` is the decoded picture's; one that is not analysed
        (`max_fps`) has the `seq` of the next that is.
        """
        ...

    def no_packets(self, why: str) -> None:
        """From here on no packets come that could be passed on; `why` in a word or two, for users."""
        ...

    def fields(self) -> dict[str, str]:
        """The fields of the stream's state hash about its picture for viewers; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class ViewerCounts:
    """What became of one stream's picture in one codec since the worker began; `running` is of now.

    `passed` and `encoded` count packets, `dropped` pictures and packets by the reason why viewers never saw them.
    """

    encoders_started: int
    encoders_running: int
    passed: int
    encoded: int
    dropped: Mapping[str, int]


class Source(Protocol):
    """One connection to one camera or file. Opened, read and closed on the stream's own thread.

    A reconnect is a new `Source` with a new epoch: the caller owns back-off and epochs.
    """

    def open(self) -> SourceInfo:
        """Connect; raises SourceError (code says why). A connection that hangs is ended by the source's deadline."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Decoded frames at the engine's size. Ends when the file ends; raises SourceError when the stream is lost."""
        ...

    def close(self) -> None:
        """Safe from any thread and more than once; makes a blocked `open` or `frames` end soon."""
        ...


# ---------------------------------------------------------------------------------------------------- engines


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor; a batch dimension is -1."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine takes and gives. `digest` names graph, weights, precision, shapes, backend version and device."""

    name: str
    backend: str
    precision: str
    device: str
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    meta: Mapping[str, Any]  # the card's machine part: family, labels, input_hw, model config

    @property
    def input_hw(self) -> Hw:
        """Height and width of the picture tensor (`images`, uint8 NHWC)."""
        images = next(t for t in self.inputs if t.name == "images")
        return images.shape[1], images.shape[2]


class Engine(Protocol):
    """Tensors in, tensors out. `infer` may be called from several threads at once."""

    @property
    def spec(self) -> EngineSpec: ...

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch (all inputs share the leading dimension, 1..max_batch_size). The caller owns the outputs."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class StagedEngine(Engine, Protocol):
    """An engine cut in two where the state comes in. One after the other, the stages are `infer`.

    `look` needs no state: frames of one stream may share its batch, or run ahead of the tracker on another core. Only
    `follow` waits for the frame before. Its inputs are outputs of `look` and the state; what `follow` does not take
    goes straight to `Task.postprocess`.
    """

    @property
    def look(self) -> Engine: ...

    @property
    def follow(self) -> Engine: ...


class Task(Protocol, Generic[S]):
    """Pure pre- and postprocess around one engine. State is a value: it goes in and comes out, one per stream."""

    @property
    def stateful(self) -> bool:
        """True: at most one frame per stream may be in flight."""
        ...

    @property
    def input_hw(self) -> Hw: ...

    @property
    def fit(self) -> Fit:
        """How a source's picture is laid into `input_hw`; boxes come back in the source's pixels all the same."""
        ...

    def initial_state(self) -> S:
        """The state of a stream at the start of an epoch."""
        ...

    def preprocess(self, frames: Sequence[Frame], states: Sequence[S]) -> dict[str, NDArray[Any]]:
        """The engine's inputs for this batch (leading dimension = len(frames))."""
        ...

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[S]
    ) -> list[tuple[Perception, S]]:
        """What was seen in each frame, and the state for each stream's next frame."""
        ...


@runtime_checkable
class StagedTask(Task[S], Protocol[S]):
    """A task whose preprocess can be done in the two steps that a StagedEngine wants."""

    def look_inputs(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """The `look` stage's inputs for these frames, of whatever streams."""
        ...

    def follow_inputs(
        self, looked: Sequence[Tensors], frames: Sequence[Frame], states: Sequence[S]
    ) -> dict[str, NDArray[Any]]:
        """The `follow` stage's inputs: what `look` said of each frame (no batch dimension), and its stream's state."""
        ...


# -------------------------------------------------------------------------------------------------------- why


class Recorder(Protocol):
    """Remembers the last frames of streams as they were answered, on the lanes: it returns at once and never raises."""

    def keep(self, frame: Frame, before: Any, after: Any, payload: Perception) -> None:
        """A frame, its stream's state before and after it, and what was seen in it. Nothing is copied."""
        ...


@dataclass(frozen=True, slots=True)
class Looks:
    """Where a query looked: f32 (rows, columns) over the source picture, summing to 1 where nothing was padded.

    `picture` f32 (n, n) is how the picture's cells looked at each other, row by row of `picture_hw`; rows sum to 1.
    """

    query: F32
    picture: F32 | None
    picture_hw: Hw | None


class Explainer(Protocol):
    """A model's second engine, which tells where it looked. One thread at a time."""

    @property
    def layer(self) -> str:
        """Which layers' attention it is, in words."""
        ...

    def looks(self, frame: Frame, before: Any, track_id: int, box_xyxy: F32) -> Looks:
        """Where the query of this track looked, told at `box_xyxy` (4,) source px, the stream's state being `before`.

        Raises EngineError, one line, if that query is not found again.
        """
        ...

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- sinks


class ResultSink(Protocol):
    """Takes results on the publishing thread; must not raise for a broken border (it counts and drops)."""

    def emit_results(self, results: Sequence[Result]) -> None: ...


class EventSink(Protocol):
    """Takes events; never loses one: what cannot be sent is spooled and replayed in order."""

    def emit_events(self, events: Sequence[Event]) -> None: ...


class Scorer(Protocol):
    """Scores results that bring their truth, beside the publishing thread: it returns at once and never raises."""

    def see(self, result: Result, events: Sequence[Event]) -> None:
        """One result whose `truth` is not None, and the events that the rules made of it."""
        ...

    def finish(self, stream: str, epoch: int) -> None:
        """The epoch is over: its numbers are no longer of now."""
        ...

    def forget(self, stream: str) -> None:
        """The stream was removed."""
        ...

    def accuracy(self, stream: str) -> Accuracy | None:
        """The newest numbers; None for a stream without truth, and before the first."""
        ...


class Measure(Protocol):
    """The rolling comparison of one epoch of one stream with its truth. One thread at a time."""

    def add(self, result: Result, truth: FrameTruth, events: Sequence[Event]) -> None:
        """The next scored frame, and the events told since the one before."""
        ...

    def accuracy(self) -> Accuracy:
        """The numbers of the window as it is now; its totals count this epoch."""
        ...


class StateSink(Protocol):
    """Takes what users see of a stream; `fields` are those of the state hash."""

    def emit_state(self, stream: str, state: StreamState, fields: Mapping[str, str]) -> None: ...


class EpochStore(Protocol):
    """Gives each (re)connect of a stream a number that was never used before, even across restarts and outages."""

    def next_epoch(self, stream: str) -> int: ...


class SourceOpener(Protocol):
    """Makes a source, not yet opened, for one connection."""

    def __call__(
        self,
        spec: StreamConfig,
        *,
        epoch: int,
        input_hw: Hw,
        clock: Clock,
        tap: PictureTap | None,
        fit: Fit,
    ) -> Source: ...
