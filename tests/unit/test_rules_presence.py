from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.rules.presence import Presence
from streamer.types import EventKind
from tests.fakes.core import result


def run(rule, seen_per_frame, **kw):
    state, events = rule.initial_state(), []
    for seq, track_ids in enumerate(seen_per_frame):
        state, happened = rule.step(state, result(track_ids, seq=seq, **kw))
        events.extend(happened)
    return events, rule.finish(state)


def test_appear_after_confirmation_and_leave_after_the_gap():
    # 10 frames a second; track 7 is seen in frames 0..3, so it is gone for more than a second at frame 14.
    events, last = run(Presence(confirm_frames=3, gone_after_s=1.0), [[7]] * 4 + [[]] * 20)
    assert [(e.id, e.kind) for e in events] == [
        ("door:1:2:appear:7", EventKind.APPEAR),
        ("door:1:14:leave:7", EventKind.LEAVE),
    ]
    assert last == []
    assert events[1].evidence["last_seq"] == 3 and events[1].evidence["frames"] == 4
    assert events[1].wall_ns - events[1].evidence["last_wall_ns"] == 1_100_000_000


def test_what_an_event_carries():
    (event,), _ = run(Presence(confirm_frames=1), [[7]], label=1, score=0.75)
    assert event.attrs == {
        "label": "car",
        "score": 0.75,
        "box_xyxy": [1.0, 2.0, 11.0, 22.0],
        "source_hw": [40, 60],
    }
    assert event.track_id == 7 and event.latency_ms["total"] >= 0
    assert event.evidence["first_seq"] == 0


def test_a_flicker_makes_no_event_and_a_short_gap_no_second_one():
    events, last = run(Presence(confirm_frames=3, gone_after_s=1.0), [[1], [], [2], []] + [[]] * 20)
    assert events == [] and last == []
    events, last = run(Presence(confirm_frames=2, gone_after_s=1.0), [[1], [1], *[[]] * 9, [1], [1]])
    assert [e.kind for e in events] == [EventKind.APPEAR]
    assert [e.kind for e in last] == [EventKind.LEAVE]


def test_the_end_of_an_epoch_makes_everybody_leave_at_its_last_frame():
    _, last = run(Presence(confirm_frames=2), [[1, 2], [1, 2], [1, 2, 3]])
    assert sorted(e.id for e in last) == ["door:1:2:leave:1", "door:1:2:leave:2"]
    assert Presence().finish(Presence().initial_state()) == []


def test_the_label_of_an_appear_is_the_label_of_its_leave():
    rule = Presence(confirm_frames=1)
    state, (appear,) = rule.step(rule.initial_state(), result([1], seq=0, label=0))
    state, _ = rule.step(state, result([1], seq=1, label=1))
    (leave,) = rule.finish(state)
    assert appear.attrs["label"] == leave.attrs["label"] == "person"


def test_a_step_leaves_the_old_state_as_it_was():
    rule = Presence(confirm_frames=2)
    state, _ = rule.step(rule.initial_state(), result([1], seq=0))
    first = rule.step(state, result([1], seq=1))
    again = rule.step(state, result([1], seq=1))
    assert first[1] == again[1] and len(first[1]) == 1


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="confirm_frames 0"):
        Presence(confirm_frames=0)


@given(
    st.lists(st.sets(st.integers(1, 6)).map(sorted), max_size=80),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 0.35, 1.0]),
)
def test_every_appear_has_exactly_one_leave(seen, confirm_frames, gone_after_s):
    events, last = run(Presence(confirm_frames, gone_after_s), seen)
    inside = set()
    for event in [*events, *last]:
        if event.kind is EventKind.APPEAR:
            assert event.track_id not in inside
            inside.add(event.track_id)
        else:
            inside.remove(event.track_id)
    assert not inside
    assert all(count == 1 for count in Counter(e.id for e in [*events, *last]).values())
    sightings = Counter(track_id for track_ids in seen for track_id in track_ids)
    assert {e.track_id for e in events} <= {i for i, n in sightings.items() if n >= confirm_frames}
