"""Why did it fire? What is remembered, who is asked and how often, and what is refused in which words."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamer.clock import FakeClock
from streamer.commands.why import known_models
from streamer.errors import EngineError
from streamer.ledger import Ledger
from streamer.metrics import Metrics
from streamer.pipeline import Pipeline
from streamer.ports import Looks
from streamer.publisher import Publisher
from streamer.remembered import Memory, Served, held_bytes
from streamer.types import F32, Event, EventKind, Frame, event_id
from streamer.why import HURRY_S, MOST_ASKED, MOST_EVENTS, REST, RETRY_S, Asker
from tests.fakes.core import AddingEngine, CountingTask, frame, perception

NANO = Served("street-nano", "street-nano", "f32")


@dataclasses.dataclass(frozen=True)
class State:
    """Tracks 1 and 2 as queries; `turn` radians between now and when the stream began."""

    turn: float
    hs: F32

    @classmethod
    def at(cls, turn: float) -> State:
        return cls(turn, np.array([[np.cos(turn), np.sin(turn)], [1, 0]], np.float32))


def query_of(state: Any, track_id: int) -> F32 | None:
    return state.hs[track_id - 1] if isinstance(state, State) and track_id in (1, 2) else None


class Explainer:
    """Looks at the cell whose number is the track's; remembers what it was asked."""

    layer = "the only one"

    def __init__(self, clock: FakeClock, takes_s: float = 0.0) -> None:
        self.clock, self.takes_s, self.closed = clock, takes_s, False
        self.asked: list[tuple[Frame, Any, int, list[float]]] = []

    def looks(self, frame: Frame, before: Any, track_id: int, box_xyxy: F32) -> Looks:
        self.clock.advance(self.takes_s)
        self.asked.append((frame, before, track_id, box_xyxy.tolist()))
        query = np.zeros((2, 3), np.float32)
        query.flat[track_id], query.flat[0] = 0.5, 0.25
        return Looks(query, np.array([[0.75, 0.25], [0.2, 0.8]], np.float32), (1, 2))

    def close(self) -> None:
        self.closed = True


class Rig:
    """An asker, a memory of one stream `door`, and what came of questions."""

    def __init__(self, *, worth: bool = True, takes_s: float = 0.0, error: EngineError | None = None) -> None:
        self.clock, self.metrics, self.memory = FakeClock(), Metrics(), Memory(frames=8)
        self.opening_s = 0.0
        self.explainer, self.error, self.opened = Explainer(self.clock, takes_s), error, 0
        self.kept: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.asker = Asker(self.memory, self.open, query_of, self, clock=self.clock, metrics=self.metrics)
        self.recorder = self.memory.recorder(NANO, worth=worth)

    def open(self, served: Served, hurry: threading.Event) -> Explainer:
        assert served == NANO and not hurry.is_set()
        self.hurry = hurry
        self.opened += 1
        self.clock.advance(self.opening_s)
        if self.error is not None:
            raise self.error
        return self.explainer

    def keep_why(self, stream: str, event: str, data: bytes) -> None:
        assert stream == event.split(":")[0]
        self.kept[event] = json.loads(data)

    def answer_why(self, stream: str, question: str, data: bytes) -> None:
        self.answers[question] = json.loads(data)

    def see(self, seq: int, tracks: Sequence[int] = (1, 2), *, epoch: int = 1, stream: str = "door") -> None:
        before, after = State.at(0.1 * seq), State.at(0.1 * (seq + 1))
        self.recorder.keep(frame(stream, epoch, seq), before, after, perception(tracks))

    def ask(self, question: str = "q", **about: Any) -> None:
        self.asker.asked({"op": "why", "stream": "door", "question": question, **about})

    def refusal(self, question: str = "q") -> tuple[int, str]:
        refused = self.answers[question]["refused"]
        return refused["status"], refused["what"]


def event(seq: int, track: int | None = 1, kind: EventKind = EventKind.APPEAR, epoch: int = 1) -> Event:
    return Event(event_id("door", epoch, seq, kind, track), kind, "door", epoch, seq, 10**18, track)


def drain(asker: Asker) -> None:
    while asker.step() is not None:
        pass


def test_an_event_is_asked_about_in_its_very_frame_and_state() -> None:
    rig = Rig()
    for seq in range(5):
        rig.see(seq)
    happened = event(3)
    rig.asker.happened([happened])
    drain(rig.asker)
    [(asked, before, track, box)] = rig.explainer.asked
    assert (asked.ref.seq, before.turn, track, box) == (3, pytest.approx(0.3), 1, [1, 2, 11, 22])
    why = rig.kept[happened.id]
    assert (why["note"], why["model"], why["layer"]) == (
        "attention, not cause",
        "street-nano",
        "the only one",
    )
    assert (why["track_id"], why["wall_ns"], why["picture"]) == (1, asked.ref.wall_ns, None)
    assert why["query"] == {"size_hw": [2, 3], "values": [128, 255, 0, 0, 0, 0]}
    assert why["picture_attention"]["grid_hw"] == [1, 2]
    assert list(base64.b64decode(why["picture_attention"]["rows"])) == [255, 85, 64, 255]
    # Queries of frames 0 to 3, each a tenth of a radian from the next.
    cosines = [round(float(np.cos(0.1 * n)), 4) for n in (3, 2, 1, 0)]
    assert [one["value"] for one in why["similarity"]] == pytest.approx(cosines, abs=2e-4)
    assert [one["wall_ns"] for one in why["similarity"]] == [
        frame("door", 1, s).ref.wall_ns for s in range(4)
    ]
    assert rig.asker.counts == {"answered": 1} and rig.metrics.why.value("door", "answered") == 1


def test_a_leave_is_asked_about_where_the_track_was_last_seen() -> None:
    rig = Rig()
    for seq, tracks in enumerate([(1,), (1, 2), (2,), (2,)]):
        rig.see(seq, tracks)
    rig.asker.happened([event(3, 1, EventKind.LEAVE)])
    drain(rig.asker)
    assert [asked[0].ref.seq for asked in rig.explainer.asked] == [1]


def test_the_ring_is_bounded_in_frames_and_bytes_and_holds_no_copies() -> None:
    memory = Memory(frames=8)
    recorder = memory.recorder(NANO, worth=True)
    for seq in range(20):
        recorder.keep(frame("a", 1, seq), State.at(0), State.at(0), perception([1]))
    ring = memory.ring("a")
    assert ring is not None and [m.frame.ref.seq for m in ring.of_track(1)] == list(range(19, 11, -1))
    one = frame("a", 1, 20)
    recorder.keep(one, State.at(0), State.at(0), perception([1]))
    assert ring.of_track(1)[0].frame.image is one.image
    size = one.image.nbytes + held_bytes(State.at(0))
    assert ring.size_bytes == 8 * size and size == 4 * 6 * 3 + 16
    recorder.keep(frame("a", 2, 0), State.at(0), State.at(0), perception([1]))  # a new epoch starts anew
    assert len(ring) == 1 and ring.size_bytes == size
    tight = Memory(frames=8, most_bytes=3 * size).recorder(NANO, worth=True)
    for seq in range(9):
        tight.keep(frame("a", 1, seq), State.at(0), State.at(0), perception([1]))
    narrow = tight._memory.ring("a")
    assert narrow is not None and len(narrow) == 3 and narrow.size_bytes == 3 * size
    memory.forget("a")
    assert memory.ring("a") is None


def test_one_event_a_second_and_stream_and_what_is_skipped_can_still_be_asked() -> None:
    rig = Rig()
    for seq in range(4):
        rig.see(seq)
    rig.asker.happened([event(1), event(2), event(2, 2)])
    rig.clock.advance(0.9)
    rig.asker.happened([event(3)])
    rig.clock.advance(0.2)
    late = event(3, 2)
    rig.asker.happened([late])
    drain(rig.asker)
    assert list(rig.kept) == [event(1).id, late.id]
    assert rig.asker.counts == {"answered": 2, "skipped:rate": 3}
    rig.ask(event=event(2).id)
    drain(rig.asker)
    assert rig.explainer.asked[-1][0].ref.seq == 2
    assert rig.answers["q"]["query"] == rig.kept[event(2).id]["query"]  # kept from now on as well
    assert rig.answers["q"]["picture"].startswith("data:image/jpeg;base64,")
    for seq in range(4, 20):
        rig.see(seq)
    rig.ask("late", event=event(2, 2).id)
    assert rig.refusal("late") == (404, "the worker no longer remembers that frame")


def test_a_person_asks_about_the_newest_picture_with_the_track_and_goes_first() -> None:
    rig = Rig(takes_s=0.04)
    rig.see(0)
    rig.see(1)
    rig.see(2, (2,))
    rig.asker.happened([event(1, 2)])
    rig.ask(track_id=1)
    assert rig.asker.step() == 0.0
    assert (rig.explainer.asked[0][0].ref.seq, rig.answers["q"]["track_id"]) == (1, 1)
    assert rig.asker.step() is None and len(rig.kept) == 1


def test_after_an_event_it_rests_but_not_for_people() -> None:
    rig = Rig(takes_s=0.5)
    rig.opening_s = 30.0  # which is no reason to rest
    rig.see(0)
    rig.asker.happened([event(0)])
    rig.asker.step()
    rig.clock.advance(0.6)  # a second since the last was taken up
    rig.asker.happened([event(0, 2)])
    assert rig.asker.step() == pytest.approx(REST * 0.5 - 0.6)
    rig.ask(track_id=1)
    assert rig.asker.step() == 0.0 and "q" in rig.answers
    rig.clock.advance(REST * 0.5)
    assert rig.asker.step() is None and len(rig.kept) == 2
    [seconds] = rig.metrics.why_seconds.snapshot()["samples"]
    assert (seconds["count"], seconds["sum"]) == (3, pytest.approx(1.5))


def test_queues_are_bounded_and_what_does_not_fit_is_counted_or_said() -> None:
    rig = Rig()
    rig.see(0)
    for _ in range(MOST_EVENTS + 2):
        rig.asker.happened([event(0)])
        rig.clock.advance(1.1)
    assert rig.asker.counts == {"skipped:busy": 2}
    for n in range(MOST_ASKED + 1):
        rig.ask(f"q{n}", track_id=1)
    assert rig.refusal(f"q{MOST_ASKED}") == (503, "16 questions wait already")
    drain(rig.asker)
    assert rig.asker.counts["answered"] == MOST_EVENTS + MOST_ASKED


@pytest.mark.parametrize(
    ("about", "status", "says"),
    [
        ({"track_id": 9}, 409, "track 9 is in none of the last 1 pictures"),
        ({"track_id": "x"}, 422, "track_id is no number"),
        ({"event": "door:1:0:up:-"}, 409, "the event is of no object"),
        ({"event": "nonsense"}, 409, "the event is of no object"),
        ({"event": "door:2:0:appear:1"}, 404, "the worker no longer remembers that frame"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(about: dict[str, Any], status: int, says: str) -> None:
    rig = Rig()
    rig.see(0)
    rig.ask(**about)
    assert rig.refusal() == (status, says)


def test_a_stream_without_frames_and_a_model_without_attention_say_so() -> None:
    rig = Rig(worth=False)
    rig.ask("early", track_id=1)
    assert rig.refusal("early") == (409, "no frame of this stream was answered yet")
    rig.see(0)
    rig.asker.happened([event(0)])
    rig.ask(track_id=1)
    assert rig.refusal() == (409, "model street-nano has no attention to show")
    ring = rig.memory.ring("door")
    assert (
        ring is not None and len(ring) == 0 and rig.asker.step() is None
    )  # nothing is kept, nobody is asked


def test_an_engine_that_cannot_be_had_is_tried_again_after_a_while() -> None:
    rig = Rig(error=EngineError("the engine cache cannot be used", mend="make room"))
    rig.see(0)
    rig.ask(track_id=1)
    drain(rig.asker)
    assert rig.refusal() == (409, "the engine cache cannot be used") and rig.opened == 1
    rig.ask("again", track_id=1)
    assert rig.refusal("again")[0] == 409 and rig.opened == 1
    rig.error = None
    rig.clock.advance(RETRY_S + 1)
    rig.ask("later", track_id=1)
    drain(rig.asker)
    assert rig.opened == 2 and rig.answers["later"]["track_id"] == 1


def test_while_the_engine_is_built_people_are_told_and_closing_does_not_wait() -> None:
    rig = Rig()
    rig.see(0)
    building, go_on = threading.Event(), threading.Event()

    def build(served: Served, hurry: threading.Event) -> Explainer:
        rig.hurry = hurry
        building.set()
        assert go_on.wait(10)
        return rig.explainer

    rig.asker._open = build
    rig.asker.happened([event(0)])
    rig.asker.start()
    assert building.wait(10)
    rig.clock.advance(5)
    rig.ask(track_id=1)
    assert rig.refusal() == (503, "the engine that shows the attention of street-nano is being prepared")
    assert not rig.hurry.is_set()  # it may be nearly done
    rig.clock.advance(HURRY_S)
    rig.ask("again", track_id=1)
    assert rig.refusal("again")[0] == 503 and rig.hurry.is_set()
    rig.asker.close(0)
    assert not rig.explainer.closed
    go_on.set()
    rig.asker.close(10)
    assert rig.explainer.closed


def test_an_explainer_that_fails_is_an_answer_too() -> None:
    rig = Rig()
    rig.see(0)

    def broken(*_: Any) -> Looks:
        raise RuntimeError("boom")

    rig.explainer.looks = broken  # type: ignore[method-assign]
    rig.ask(track_id=1)
    drain(rig.asker)
    assert rig.refusal() == (500, "the question failed: RuntimeError")
    assert rig.metrics.errors.value("why") == 1


class Nowhere:
    def emit_results(self, results: Sequence[Any]) -> None: ...
    def emit_events(self, events: Sequence[Any]) -> None: ...


@pytest.mark.parametrize("on", [True, False])
def test_a_pipeline_hands_over_each_frame_with_the_state_it_was_answered_with(on: bool) -> None:
    clock, ledger, metrics = FakeClock(), Ledger(), Metrics()
    publisher = Publisher(
        rules=[], results=Nowhere(), events=Nowhere(), ledger=ledger, metrics=metrics, clock=clock
    )
    memory = Memory()
    pipeline: Pipeline[int] = Pipeline(
        AddingEngine(), CountingTask(), publisher, ledger=ledger, metrics=metrics, clock=clock,
        max_queue_delay_s=0, recorder=memory.recorder(NANO, worth=True) if on else None,
    )  # fmt: skip
    publisher.start()
    pipeline.start()
    inlet = pipeline.attach("door", 1, live=False)
    frames = [frame("door", 1, seq) for seq in range(4)]
    for one in frames:
        inlet.put(one)
    assert inlet.finish(10)
    pipeline.close(5)
    publisher.close(5)
    ring = memory.ring("door")
    if not on:
        assert ring is None
        return
    assert ring is not None
    moments = [ring.of_track(n)[0] for n in (1, 2, 3, 4)]  # the task calls each frame by its count
    assert [(m.before, m.after) for m in moments] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert all(m.frame is one for m, one in zip(moments, frames, strict=True))


def test_the_models_are_told_with_numbers_and_text() -> None:
    told = {name: json.loads(data) for name, data in known_models().items()}
    nano = told["street-nano"]
    assert nano["attention"] is True and nano["input_hw"] == [144, 256] and "person" in nano["labels"]
    assert 0 < nano["shown"]["AP50 clear"] < 1 and nano["text"].startswith("# street-nano")
    assert "weights" not in nano and "street-small" in told
