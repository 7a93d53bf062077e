import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.batcher import Batcher, Slot, Stage, Waiting, decide
from streamer.channel import Channel
from streamer.clock import FakeClock, SystemClock
from tests.fakes.core import frame

MS = 1_000_000


def ask(waiting, now_ms=0.0, *, limit=8, delay_ms=20.0, stateful=True):
    return decide(waiting, int(now_ms * MS), limit=limit, max_delay_ns=int(delay_ms * MS), stateful=stateful)


def idle(turn=0):
    return Waiting(None, 0, False, turn)


def here(arrived_ms=0.0, *, frames=1, busy=False, turn=0):
    return Waiting(int(arrived_ms * MS), frames, busy, turn)


def test_it_waits_for_others_until_the_oldest_has_waited_long_enough():
    waiting = [here(5), here(9), idle()]
    assert ask(waiting, 10).wake_at_ns == 25 * MS and not ask(waiting, 10)
    assert not ask(waiting, 24.9)
    assert ask(waiting, 25).go == (1, 1, 0)


def test_it_leaves_at_once_when_full_or_when_nobody_else_could_join():
    assert ask([here(5), here(9), idle()], 9, limit=2).go == (1, 1, 0)
    assert ask([here(5), here(9)], 9).go == (1, 1)
    assert ask([here(5), here(busy=True)], 5).go == (1, 0)


def test_who_is_in_flight_neither_goes_nor_is_waited_for():
    decision = ask([here(busy=True), Waiting(None, 0, True, 0)], 1000)
    assert not decision and decision.wake_at_ns is None


def test_a_stateful_task_sends_one_frame_per_stream_a_stateless_one_fills_up_in_turns():
    waiting = [here(frames=5), here(frames=2)]
    assert ask(waiting, stateful=True).go == (1, 1)
    assert ask(waiting, stateful=False, limit=6).go == (4, 2)
    assert ask(waiting, stateful=False, limit=3).go == (2, 1)


def test_turns_go_round():
    waiting = [here(0, turn=9), here(5, turn=3), here(7, turn=4)]
    assert ask(waiting, 8, limit=2).go == (0, 1, 1)


streams = st.lists(
    st.builds(
        lambda arrived, frames, busy, turn: Waiting(
            None if frames == 0 else arrived * MS, frames, busy, turn
        ),
        st.integers(0, 100),
        st.integers(0, 4),
        st.booleans(),
        st.integers(0, 50),
    ),
    max_size=12,
)


@given(streams, st.integers(0, 200), st.integers(1, 8), st.integers(0, 50), st.booleans())
def test_laws(waiting, now_ms, limit, delay_ms, stateful):
    decision = ask(waiting, now_ms, limit=limit, delay_ms=delay_ms, stateful=stateful)
    ready = [i for i, w in enumerate(waiting) if not w.busy and w.frames]
    assert len(decision.go) == len(waiting) and sum(decision.go) <= limit
    for i, (count, stream) in enumerate(zip(decision.go, waiting, strict=True)):
        assert 0 <= count <= stream.frames
        if count:
            assert i in ready
            assert count == 1 or not stateful
    if decision:
        # Whoever stays behind went no longer ago than whoever goes.
        stay = [waiting[i].turn for i in ready if not decision.go[i]]
        went = [waiting[i].turn for i in ready if decision.go[i]]
        assert not stay or max(went) <= min(stay)
        assert decision.wake_at_ns is None
    elif ready:
        # It may only wait if there is room, somebody could join, and nobody has waited too long.
        due_ns = min(waiting[i].arrived_ns for i in ready) + delay_ms * MS
        assert decision.wake_at_ns == due_ns > now_ms * MS
        assert any(not w.busy and not w.frames for w in waiting)
        assert sum(1 if stateful else waiting[i].frames for i in ready) < limit
    else:
        assert decision.wake_at_ns is None


@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 30),
    st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=60),
)
def test_no_frame_waits_longer_than_the_delay_while_a_lane_is_free(streams, limit, delay_ms, arrivals):
    """One lane that answers at once, milliseconds as ticks: arrivals[t] are the streams whose frame comes at t."""
    queues = [[] for _ in range(streams)]
    turns = [0] * streams
    clock_turn = 0
    for now in range(len(arrivals) + delay_ms + 2):
        for stream in arrivals[now] if now < len(arrivals) else []:
            queues[stream % streams].append(now)
        while True:
            waiting = [
                Waiting(q[0] * MS if q else None, len(q), False, turn)
                for q, turn in zip(queues, turns, strict=True)
            ]
            decision = ask(waiting, now, limit=limit, delay_ms=delay_ms)
            if not decision:
                break
            for i, count in enumerate(decision.go):
                for _ in range(count):
                    assert now - queues[i].pop(0) <= delay_ms
                    clock_turn += 1
                    turns[i] = clock_turn
    assert not any(queues)


def test_a_stream_that_always_has_frames_does_not_starve_the_others():
    turns = [0, 0, 0, 0]
    went = [0, 0, 0, 0]
    for now in range(400):
        # Stream 0..2 always have an old frame; stream 3 only ever has a fresh one.
        waiting = [here(0, frames=9, turn=t) for t in turns[:3]] + [here(now, turn=turns[3])]
        for i, count in enumerate(ask(waiting, now, limit=1).go):
            if count:
                went[i] += 1
                turns[i] = now + 1
    assert went == [100, 100, 100, 100]


def make_batcher(n_streams, clock, **kw):
    options = {"max_batch_size": 8, "max_delay_s": 0.02, "stateful": True} | kw
    batcher = Batcher(clock, **options)
    slots = []
    for i in range(n_streams):
        slots.append(Slot(f"s{i}", 1, Channel(4, on_put=batcher.wake), None))
        batcher.attach(slots[-1])
    return batcher, slots


def put(slot, seq, clock):
    slot.channel.put(frame(slot.stream, 1, seq, now_ns=clock.monotonic_ns()))


def streams_of(batch):
    return sorted(slot.stream for slot, _ in batch.items)


def seqs_of(batch):
    return [pending.frame.ref.seq for _, pending in batch.items]


def test_lanes_share_the_streams():
    clock = FakeClock()
    batcher, slots = make_batcher(4, clock, lanes=2)
    for slot in slots:
        put(slot, 0, clock)
    first, second = batcher.take(), batcher.take()
    assert len(first.items) == len(second.items) == 2
    assert sorted(streams_of(first) + streams_of(second)) == ["s0", "s1", "s2", "s3"]


def test_the_next_frame_goes_only_after_done():
    clock = FakeClock()
    batcher, (slot,) = make_batcher(1, clock)
    put(slot, 0, clock)
    put(slot, 1, clock)
    batch = batcher.take()
    assert seqs_of(batch) == [0]
    taken = []
    lane = threading.Thread(target=lambda: taken.append(batcher.take()))
    lane.start()
    lane.join(0.05)
    assert lane.is_alive() and not batcher.wait_empty(slot, 0.001)
    batcher.done(batch)
    lane.join(5)
    assert seqs_of(taken[0]) == [1]
    batcher.done(taken[0])
    assert batcher.wait_empty(slot, 5)


def test_a_real_wait_ends_at_the_deadline_and_a_detached_stream_is_not_waited_for():
    clock = SystemClock()
    batcher, slots = make_batcher(2, clock, max_delay_s=0.03)
    put(slots[0], 0, clock)
    start_ns = clock.monotonic_ns()
    batch = batcher.take()
    assert streams_of(batch) == ["s0"]
    assert clock.monotonic_ns() - start_ns >= 25 * MS
    batcher.done(batch)

    batcher, slots = make_batcher(2, clock, max_delay_s=60)
    put(slots[0], 0, clock)
    taken = []
    lane = threading.Thread(target=lambda: taken.append(batcher.take()))
    lane.start()
    batcher.detach(slots[1])
    lane.join(5)
    assert streams_of(taken[0]) == ["s0"]


def test_close_ends_waiting_lanes():
    batcher, _ = make_batcher(1, SystemClock())
    taken = []
    lanes = [threading.Thread(target=lambda: taken.append(batcher.take())) for _ in range(2)]
    for lane in lanes:
        lane.start()
    batcher.close()
    for lane in lanes:
        lane.join(5)
    assert taken == [None, None]


def test_a_staged_engine_looks_ahead_and_follows_in_order():
    clock = FakeClock()
    batcher, (slot,) = make_batcher(1, clock, staged=True, lanes=2)
    for seq in range(4):
        put(slot, seq, clock)
    looks = [batcher.take() for _ in range(3)]
    assert [look.stage for look in looks] == [Stage.LOOK] * 3 and [seqs_of(b) for b in looks] == [
        [0],
        [1],
        [2],
    ]
    assert len(slot.channel) == 1  # no further ahead than keeps two lanes busy
    assert batcher.looked(looks[1], [{"t": 1}]) == []
    assert slot.for_follow().arrived_ns is None  # frame 0 comes first
    assert batcher.looked(looks[0], [{"t": 0}]) == []
    follow = batcher.take()
    assert (follow.stage, seqs_of(follow), follow.items[0][1].looked) == (Stage.FOLLOW, [0], {"t": 0})
    assert (ahead := batcher.take()).stage is Stage.LOOK and seqs_of(ahead) == [
        3
    ]  # frame 1 waits for the state
    batcher.done(follow)
    assert seqs_of(batcher.take()) == [1]


def test_a_failed_look_does_not_hold_the_stream_up_and_a_late_one_is_given_back():
    clock = FakeClock()
    batcher, (slot,) = make_batcher(1, clock, staged=True, lanes=2)
    for seq in range(3):
        put(slot, seq, clock)
    first, second, third = (batcher.take() for _ in range(3))
    batcher.looked(first, None)
    batcher.looked(second, [{}])
    follow = batcher.take()
    assert seqs_of(follow) == [1]
    batcher.done(follow)
    assert batcher.detach(slot) == [] and not slot.empty
    assert [f.ref.seq for f in batcher.looked(third, [{}])] == [2]
    assert slot.empty


def test_detach_gives_what_was_looked_at_in_vain():
    clock = FakeClock()
    batcher, (slot,) = make_batcher(1, clock, staged=True, lanes=2)
    put(slot, 0, clock)
    batcher.looked(batcher.take(), [{}])
    assert [f.ref.seq for f in batcher.detach(slot)] == [0]
    assert slot.empty


@pytest.mark.parametrize(
    ("streams", "lanes", "ahead"),
    [(1, 1, 2), (1, 2, 3), (2, 2, 2), (3, 2, 1), (9, 2, 1), (1, 8, 9), (4, 8, 3)],
)
def test_streams_look_only_as_far_ahead_as_the_lanes_need(streams, lanes, ahead):
    clock = FakeClock()
    batcher = Batcher(clock, max_batch_size=1, max_delay_s=0, stateful=True, staged=True, lanes=lanes)
    slots = [Slot(f"s{i}", 1, Channel(20), None) for i in range(streams)]
    for slot in slots:
        batcher.attach(slot)
        for seq in range(20):
            put(slot, seq, clock)
    for _ in range(ahead * streams):
        assert batcher.take().stage is Stage.LOOK
    assert [len(slot.ahead) for slot in slots] == [ahead] * streams
    assert not batcher._decide(Stage.LOOK, clock.monotonic_ns())


def test_files_are_looked_at_several_at_once_with_another_batch_in_waiting():
    clock = FakeClock()
    batcher = Batcher(clock, max_batch_size=8, max_delay_s=0, stateful=True, staged=True, lanes=2)
    slot = Slot("file", 1, Channel(20), None, live=False)
    batcher.attach(slot)
    for seq in range(20):
        put(slot, seq, clock)
    first, second = batcher.take(), batcher.take()
    assert [seqs_of(b) for b in (first, second)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert not batcher._decide(Stage.LOOK, clock.monotonic_ns())
    batcher.looked(first, [{}] * 4)
    for seq in range(4):  # followed one by one, before any more looking
        follow = batcher.take()
        assert (follow.stage, seqs_of(follow)) == (Stage.FOLLOW, [seq])
        batcher.done(follow)
    assert seqs_of(batcher.take()) == [8, 9, 10, 11]
