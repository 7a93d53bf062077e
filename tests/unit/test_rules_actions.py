"""The action rule: once for each track and start, for the actions that a stream wishes, with ids that never meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamer.config import EventWishes, StreamConfig
from streamer.regions import Zone
from streamer.rules.actions import ActionStarts, ActionState
from streamer.rules.wishes import Wishes
from streamer.types import Action, Event, EventKind, Result
from tests.fakes.core import result

FALLS = ActionStarts({"door": ("fall", "wave")}.get)  # type: ignore[arg-type]  # these tests know one stream


def acting(seq: int, *actions: tuple[int | None, str, float, int], ids: Sequence[int] = (1, 2)) -> Result:
    """A result in which tracks (None: the scene) do things: who, what, score, since when (ns)."""
    plain = result(ids, seq=seq)
    said = tuple(Action(name, score, who, since, 10**9) for who, name, score, since in actions)
    return replace(plain, payload=replace(plain.payload, actions=said))


def run(rule: ActionStarts, results: Sequence[Result]) -> tuple[list[Event], ActionState]:
    state, events = rule.initial_state(), list[Event]()
    for one in results:
        state, happened = rule.step(state, one)
        events += happened
    return events, state


def test_a_start_is_told_once_and_the_next_start_again() -> None:
    falls, walks, again = (1, "fall", 0.9, 100), (1, "walk", 0.9, 300), (1, "fall", 0.9, 500)
    events, _ = run(
        FALLS, [acting(i, one) for i, one in enumerate([falls, falls, walks, walks, again, again])]
    )
    assert [(e.id, e.kind) for e in events] == [
        ("door:1:0:action:1", EventKind.ACTION),
        ("door:1:4:action:1", EventKind.ACTION),
    ]
    assert events[0].attrs | {"box_xyxy": 0} == {
        "action": "fall",
        "score": 0.9,
        "start_wall_ns": 100,
        "label": "person",
        "box_xyxy": 0,
        "source_hw": [40, 60],
    }
    assert events[0].track_id == 1 and events[0].latency_ms["total"] >= 0


def test_tracks_are_told_apart_and_a_lost_one_is_not_told_again() -> None:
    both = ((1, "fall", 0.9, 100), (2, "wave", 0.8, 100))
    gone = acting(2, (2, "wave", 0.8, 100), ids=[2])
    events, _ = run(FALLS, [acting(0, *both), acting(1, *both), gone, acting(3, *both)])
    assert [e.id for e in events] == ["door:1:0:action:1", "door:1:0:action:2"]


def test_it_waits_until_the_action_is_likely_and_then_stays_told() -> None:
    scores = [0.3, 0.49, 0.6, 0.2, 0.9]
    events, _ = run(FALLS, [acting(i, (1, "fall", score, 100)) for i, score in enumerate(scores)])
    assert [e.seq for e in events] == [2] and events[0].attrs["score"] == 0.6


def test_what_nobody_wished_for_and_what_the_scene_does_are_no_events() -> None:
    events, state = run(FALLS, [acting(0, (1, "walk", 0.9, 1), (None, "fall", 0.9, 1), (7, "fall", 0.9, 1))])
    assert events == [] and state.told == {}
    quiet, state = run(ActionStarts(Wishes().actions), [acting(0, (1, "fall", 0.9, 1))])
    assert quiet == [] and state == ActionState()
    assert FALLS.finish(state) == []


def test_memory_is_bounded_by_time() -> None:
    many = [acting(i, (i, "fall", 0.9, 1), ids=[i]) for i in range(2000)]  # ten frames a second
    events, state = run(FALLS, many)
    assert len(events) == 2000 and 600 <= len(state.told) <= 602


def test_wishes_are_by_stream_and_the_last_word_counts() -> None:
    wishes = Wishes()
    door = StreamConfig(name="door", url="world://street", events=EventWishes(actions=("fall", "wave")))
    wishes.put(door)
    assert wishes.actions("door") == {"fall", "wave"} and wishes.actions("gate") == frozenset()
    yard = Zone(name="yard", points=((0, 0), (1, 0), (1, 1)))
    wishes.put(StreamConfig(name="door", url="world://street", zones=(yard,)))
    assert wishes.actions("door") == frozenset() and wishes.zones("door") == (yard,)
    assert wishes.lines("door") == wishes.zones("gate") == ()
