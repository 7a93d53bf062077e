"""Sources that follow a script, one script a connection, and what a stream's runner needs around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamer.clock import FakeClock
from streamer.config import StreamConfig
from streamer.errors import SourceError
from streamer.ledger import Ledger
from streamer.metrics import Metrics
from streamer.pipeline import Pipeline
from streamer.ports import SourceInfo
from streamer.publisher import Publisher
from streamer.rules.presence import Presence
from streamer.runner import Surroundings
from streamer.types import Frame
from tests.fakes.core import AddingEngine, CountingTask, KeepingSink, frame

Step = int | Exception | Callable[["ScriptedSource"], None]


class ScriptedSource:
    """Runs its script: a number is so many frames, an exception is raised, a callable is called.

    The first step happens in `open` if it is an exception or a callable. `HANG` waits until the source is closed.
    """

    def __init__(
        self,
        name: str,
        epoch: int,
        script: Sequence[Step],
        live: bool,
        clock: FakeClock,
        sink: KeepingSink,
    ) -> None:
        self.epoch, self.live = epoch, live
        self._sink = sink
        self._name, self._clock = name, clock
        self._script = list(script)
        self.closed = threading.Event()

    def open(self) -> SourceInfo:
        if self._script and not isinstance(self._script[0], int):
            self._do(self._script.pop(0))
        return SourceInfo("h264", 60, 40, 10.0, self.live)

    def frames(self) -> Iterator[Frame]:
        seq = 0
        for step in self._script:
            if not isinstance(step, int):
                self._do(step)
                continue
            for _ in range(step):
                if self.closed.is_set():
                    return
                yield frame(self._name, self.epoch, seq, now_ns=self._clock.monotonic_ns())
                if self.live:  # as slow a camera as it takes, so that none is dropped
                    self._sink.wait_for(self._answered(seq))
                seq += 1

    def _answered(self, seq: int) -> Callable[[], bool]:
        key = f"{self._name}:{self.epoch}:{seq}"
        return lambda: self.closed.is_set() or any(r.ref.key == key for r in reversed(self._sink.results))

    def close(self) -> None:
        self.closed.set()

    def _do(self, step: Step) -> None:
        if isinstance(step, Exception):
            raise step
        assert callable(step)
        step(self)


def HANG(source: ScriptedSource) -> None:
    """Wait for `close`, as a good source does whose camera went silent; then say that the stream was lost."""
    assert source.closed.wait(20)
    raise SourceError("nothing came", code="STREAM_LOST")  # type: ignore[arg-type]


class Epochs:
    """Counts from 1 for each stream."""

    def __init__(self) -> None:
        self.given: dict[str, int] = {}

    def next_epoch(self, stream: str) -> int:
        self.given[stream] = self.given.get(stream, 0) + 1
        return self.given[stream]


class Stage:
    """A pipeline with a counting engine, and sources by script. Use as `with stage(...) as it`."""

    def __init__(self, scripts: dict[str, list[Sequence[Step]]], live: bool) -> None:
        self.clock, self.sink = FakeClock(), KeepingSink()
        self.ledger, self.metrics, self.epochs = Ledger(), Metrics(), Epochs()
        self.scripts, self.live = scripts, live
        self.sources: list[ScriptedSource] = []
        self.over = False
        self.publisher = Publisher(
            rules=[Presence(confirm_frames=1)],
            results=self.sink,
            events=self.sink,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.pipeline: Pipeline[Any] = Pipeline(
            AddingEngine(),
            CountingTask(),
            self.publisher,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=self.clock,
            max_queue_delay_s=0.0,  # the clock stands still unless a test moves it
        )
        self.surroundings = Surroundings(
            pipeline_for=lambda spec: self.pipeline,
            open_source=self.open_source,
            publisher=self.publisher,
            epochs=self.epochs,
            states=self.sink,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=self.clock,
        )

    def open_source(self, spec: StreamConfig, *, epoch: int, tap: Any, **_: Any) -> ScriptedSource:
        if self.over:  # a test that failed left its runners: on a fake clock they would reconnect for ever
            raise SystemExit
        scripts = self.scripts[spec.name]
        # The last script is used again and again.
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        source = ScriptedSource(spec.name, epoch, script, self.live, self.clock, self.sink)
        self.sources.append(source)
        return source

    def states(self, stream: str = "cam") -> list[str]:
        """The states it went through, repeats left out."""
        seen = [str(state) for name, state, _ in self.sink.states if name == stream]
        return [state for i, state in enumerate(seen) if i == 0 or state != seen[i - 1]]

    def fields(self, stream: str = "cam") -> dict[str, str]:
        """The last state hash."""
        return dict(next(fields for name, _, fields in reversed(self.sink.states) if name == stream))

    def events(self, *kinds: str) -> list[Any]:
        return [event for event in self.sink.events if event.kind in kinds]


@contextmanager
def stage(scripts: dict[str, list[Sequence[Step]]], *, live: bool = True) -> Iterator[Stage]:
    it = Stage(scripts, live)
    it.publisher.start()
    it.pipeline.start()
    try:
        yield it
    finally:
        it.over = True
        assert it.pipeline.close(10)
        assert it.publisher.close(10)
