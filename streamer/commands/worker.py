"""`sightline worker`: the process that decodes, infers and publishes. Started by the supervisor, so help hides it.

All concrete parts of a worker meet here and nowhere else. Its streams are those in Redis (`sl:streams`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engines.backends.registry import Lanes
    from streamer.config import StreamConfig
    from streamer.pipeline import Pipeline
    from streamer.ports import Engine, Measure

log = logging.getLogger(__name__)

Wanted = tuple[str, tuple[str, ...] | None]  # a model and its heads

# A lane's Python is short; the interpreter's 5 ms between switches would leave the other lane's engine idle meanwhile.
SWITCH_INTERVAL_S = 0.0005
# More lanes than this and their Python, which one core runs at a time, is what limits them.
MOST_LANES = 8
# What is not given back before the process ends.
_until_the_end: list[Models] = []
# A batch takes milliseconds. A lane that has been at one for this long will not come back.
STALL_S = 20.0


def register(app: typer.Typer) -> None:
    app.command(hidden=True)(worker)


def worker(
    redis_url: Annotated[str, typer.Option(envvar="REDIS_URL", help="Where Redis is.", show_default=False)],
    data_dir: Annotated[
        Path, typer.Option(envvar="SIGHTLINE_DATA", help="Where engines, spool and epochs are kept.")
    ],
    backend: Annotated[str, typer.Option(help="What runs the engines.")] = "openvino",
    precision: Annotated[str, typer.Option(help="auto, f16, bf16 or f32.")] = "auto",
    max_batch_size: Annotated[int, typer.Option(min=1, max=64)] = 8,
    max_queue_delay_ms: Annotated[float, typer.Option(min=0)] = 20.0,
    results_maxlen: Annotated[int, typer.Option(min=1)] = 300,
    events_maxlen: Annotated[int, typer.Option(min=1)] = 100_000,
    drain_deadline_s: Annotated[float, typer.Option(min=0)] = 5.0,
    evidence_pictures: Annotated[int, typer.Option(min=0)] = 500,
    evidence_clips: Annotated[int, typer.Option(min=0)] = 50,
    lanes: Annotated[
        int | None, typer.Option(min=1, help="Inferences side by side; default: one per CPU.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of all lanes together; default: one a lane.")
    ] = None,
    why: Annotated[bool, typer.Option(help="Keep where the model looked, of events.")] = True,
) -> None:
    """Run the streams that Redis names, until SIGTERM."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    stop = threading.Event()
    wakes: list[Callable[[], None]] = []

    def asked(number: int, frame: object) -> None:
        stop.set()
        for wake in wakes:
            wake()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    clean = run(
        redis_url,
        data_dir.expanduser().absolute(),
        backend=backend,
        precision=precision,
        max_batch_size=max_batch_size,
        max_queue_delay_s=max_queue_delay_ms / 1000,
        results_maxlen=results_maxlen,
        events_maxlen=events_maxlen,
        drain_deadline_s=drain_deadline_s,
        evidence=(evidence_pictures, evidence_clips),
        shares=shares(lanes, threads),
        why=why,
        stop=stop,
        on_made=wakes.append,
    )
    # All is written. A thread that is still in native code (an engine being built) would hold up Python's own end.
    logging.shutdown()
    os._exit(0 if clean else 1)


def shares(lanes: int | None = None, threads: int | None = None) -> Lanes:
    """How this machine is shared out: by default one single-threaded lane per CPU.

    The stages of one stream fill two lanes, and more streams more.
    """
    from engines.backends.registry import Lanes

    streams = lanes or max(1, min(threads or usable_cpus(), MOST_LANES))
    return Lanes(max(threads or streams, streams), streams)


def run(
    redis_url: str,
    data_dir: Path,
    *,
    backend: str,
    precision: str,
    max_batch_size: int,
    max_queue_delay_s: float,
    results_maxlen: int,
    events_maxlen: int,
    drain_deadline_s: float,
    evidence: tuple[int, int] = (0, 0),
    shares: Lanes,
    stop: threading.Event,
    why: bool = False,
    on_made: Callable[[Callable[[], None]], None] = lambda wake: None,
) -> bool:
    """Compose a worker and run it until `stop`; then drain. False if something did not end within the deadline.

    `evidence`: how many pictures and clips of events are kept of each stream.
    `on_made` is given what to call after `stop` was set, so that it is seen at once.
    """
    from engines.zoo import open_engine, task_for
    from streamer.client import Client
    from streamer.clock import SystemClock
    from streamer.commands.why import Whys
    from streamer.commands.worker_evidence import Evidence
    from streamer.desired import DesiredStreams
    from streamer.ledger import Ledger
    from streamer.metrics import Metrics
    from streamer.pipeline import Pipeline
    from streamer.publisher import Publisher
    from streamer.rules.wishes import Wishes, alarms_of, rules_of
    from streamer.runner import StreamRunner, Surroundings
    from streamer.scoreboard import Scoreboard
    from streamer.sinks.redis import RedisSink
    from streamer.sinks.video import VideoPublisher
    from streamer.sources import open_source
    from streamer.worker import Worker

    clock, ledger, metrics = SystemClock(), Ledger(), Metrics()
    sink = RedisSink(
        redis_url, data_dir, clock=clock, results_maxlen=results_maxlen, events_maxlen=events_maxlen
    )
    desired = DesiredStreams(redis_url)
    whys = Whys(redis_url, data_dir, on=why, backend=backend, clock=clock, metrics=metrics)
    kept = Evidence(redis_url, *evidence, sink=sink, clock=clock, metrics=metrics)
    wishes = Wishes()
    scoreboard = Scoreboard(lambda: _measure(lambda stream: alarms_of(wishes.of(stream))), clock)
    publisher = Publisher(
        rules=rules_of(wishes),
        results=kept.results,
        events=whys.events(kept.events),
        ledger=ledger,
        metrics=metrics,
        clock=clock,
        scorer=scoreboard,
    )

    def make_pipeline(model: str, heads: Sequence[str] | None) -> tuple[Engine, Pipeline[Any]]:
        engine = open_engine(
            model,
            heads=heads,
            backend=backend,
            precision=precision,
            max_batch_size=max_batch_size,
            threads=shares.threads,
            streams=shares.streams,
            cache_dir=data_dir / "engines",
            on_progress=lambda line: log.info("%s: %s", model, line),
        )
        pipeline: Pipeline[Any] = Pipeline(
            engine,
            task_for(engine.spec),
            publisher,
            ledger=ledger,
            metrics=metrics,
            clock=clock,
            lanes=shares.streams,
            max_batch_size=max_batch_size,
            max_queue_delay_s=max_queue_delay_s,
            recorder=whys.recorder(model, engine),
        )
        return engine, pipeline

    models = Models(make_pipeline)
    surroundings = Surroundings(
        pipeline_for=models.pipeline_for,
        open_source=partial(open_source, publications=lambda: Client(redis_url)),
        publisher=publisher,
        epochs=sink,
        states=sink,
        ledger=ledger,
        metrics=metrics,
        clock=clock,
    )

    def runner_for(spec: StreamConfig, tap: Any) -> StreamRunner:
        wishes.put(spec)
        return StreamRunner(spec, surroundings, tap=kept.beside(tap))

    made = Worker(
        desired=desired,
        border=sink,
        runner_for=runner_for,
        tap_for=lambda stream: VideoPublisher(stream, sink, clock),
        stalled=models.stalled,
        publisher=publisher,
        ledger=ledger,
        metrics=metrics,
        clock=clock,
        backend=backend,
        adopted=wishes.put,
        forgotten=whys.forget,
    )
    on_made(made.wake)
    sink.open()
    whys.open()
    kept.open()
    publisher.start()
    sink.listen(whys.hearing(made.tell))
    try:
        made.run(stop)
    finally:
        certain = _end_for_certain(drain_deadline_s + 3.0)
        clean = made.close(drain_deadline_s)
        clean = models.close(1.0) and clean
        clean = publisher.close(1.0) and clean
        clean = scoreboard.close(1.0) and clean
        whys.close(0.5)
        kept.close(1.0)  # a clip that is not done by then is no reason to call the end unclean
        desired.close()
        sink.close()
        certain.cancel()
    return clean


class Models:
    """The engines and pipelines there are, one per model and its heads, made when a stream first asks.

    Safe from any thread.
    """

    def __init__(self, make: Callable[[str, Sequence[str] | None], tuple[Engine, Pipeline[Any]]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._making: dict[Wanted, threading.Lock] = {}
        self._made: dict[Wanted, tuple[Engine, Pipeline[Any]]] = {}
        self._closed = False

    def pipeline_for(self, spec: StreamConfig) -> Pipeline[Any]:
        """The pipeline of the stream's model; may build an engine, which holds up only those who want the same one."""
        from streamer.errors import EngineError

        wanted = spec.model, spec.heads
        with self._lock:
            making = self._making.setdefault(wanted, threading.Lock())
        with making:
            made = self._made.get(wanted)
            if made is None:
                made = self._make(spec.model, spec.heads)
                with self._lock:
                    if self._closed:
                        raise EngineError("the worker is stopping", where=spec.name)
                    self._made[wanted] = made
                    made[1].start()
        return made[1]

    def stalled(self) -> str:
        """Which model's lane does not come back from its engine, in words; empty if all is well."""
        with self._lock:
            made = dict(self._made)
        for (model, _), (_, pipeline) in made.items():
            if (seconds := pipeline.at_one_batch_s()) > STALL_S:
                return f"a lane of {model} has been at one batch for {seconds:.0f} s"
        return ""

    def close(self, timeout_s: float) -> bool:
        """Stop all lanes; False if one did not come back.

        The engines stay as they are: the process ends, and giving their memory back piece by piece took seconds of a
        busy machine's time, in which the worker was taken for hanging.
        """
        with self._lock:
            self._closed = True
            made = list(self._made.values())
        _until_the_end.append(self)
        return all([pipeline.close(timeout_s) for _, pipeline in made])


def _measure(alarms: Callable[[str], Collection[str]]) -> Measure:
    """Made when a source brings its truth: workers that never meet one do not load it."""
    from engines.evaluation.live.window import RollingAccuracy

    return RollingAccuracy(alarms=alarms)


def usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_for_certain(after_s: float) -> threading.Timer:
    """Should a native library not return, the process ends all the same."""

    def end() -> None:
        log.error("the worker did not end by itself")
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()
    return timer
