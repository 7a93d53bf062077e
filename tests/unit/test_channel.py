import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.channel import Channel, DropReason, Overflow
from streamer.errors import Closed


def dropped_list():
    dropped = []
    return dropped, lambda item, reason: dropped.append((item, reason))


def test_drop_oldest_keeps_the_newest_and_reports_the_rest():
    dropped, on_drop = dropped_list()
    channel = Channel(2, Overflow.DROP_OLDEST, on_drop=on_drop)
    for i in range(5):
        channel.put(i)
    assert dropped == [(0, DropReason.OVERFLOW), (1, DropReason.OVERFLOW), (2, DropReason.OVERFLOW)]
    assert [channel.take(), channel.take(), channel.take()] == [3, 4, None]


def test_newest_replaces_all_that_waits():
    dropped, on_drop = dropped_list()
    channel = Channel(3, Overflow.NEWEST, on_drop=on_drop)
    for i in range(3):
        channel.put(i)
    assert channel.get() == 2
    assert dropped == [(0, DropReason.SUPERSEDED), (1, DropReason.SUPERSEDED)]


def test_block_waits_for_room():
    channel = Channel(1)
    channel.put("a")
    second_in = threading.Event()
    writer = threading.Thread(target=lambda: (channel.put("b"), second_in.set()))
    writer.start()
    assert not second_in.wait(0.05)
    assert channel.get() == "a"
    assert second_in.wait(5)
    writer.join()
    assert channel.get() == "b"


def test_close_wakes_a_blocked_writer_and_reader_with_closed():
    for overflow, action in ((Overflow.BLOCK, "put"), (Overflow.BLOCK, "get")):
        channel = Channel(1, overflow)
        if action == "put":
            channel.put(0)
        outcome = []

        def work(channel=channel, action=action, outcome=outcome):
            try:
                channel.put(1) if action == "put" else channel.get()
            except Closed:
                outcome.append("closed")

        thread = threading.Thread(target=work)
        thread.start()
        channel.close()
        thread.join(5)
        assert outcome == ["closed"]


def test_what_waits_survives_close_but_not_discard():
    channel = Channel(3)
    channel.put(1)
    channel.put(2)
    channel.close()
    with pytest.raises(Closed):
        channel.put(3)
    assert channel.get_many(9) == [1, 2]
    with pytest.raises(Closed):
        channel.get()

    dropped, on_drop = dropped_list()
    channel = Channel(3, on_drop=on_drop)
    channel.put(1)
    channel.close(discard=True)
    channel.close(discard=True)
    assert dropped == [(1, DropReason.CLOSED)]
    with pytest.raises(Closed):
        channel.get()


def test_get_times_out():
    with pytest.raises(TimeoutError):
        Channel(1).get(timeout_s=0.001)


def test_statistics_are_frozen():
    channel = Channel(2)
    before = channel.stats()
    channel.put(1)
    assert before.put == 0 and channel.stats().put == 1
    with pytest.raises(AttributeError):
        before.put = 3


def test_a_channel_of_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity 0"):
        Channel(0)


@given(
    st.sampled_from(list(Overflow)),
    st.integers(1, 4),
    st.lists(st.sampled_from(["put", "take", "close", "discard"]), max_size=40),
)
def test_each_item_comes_out_once_or_is_reported_once(overflow, capacity, steps):
    dropped, on_drop = dropped_list()
    channel = Channel(capacity, overflow, on_drop=on_drop)
    put, got = [], []
    for i, step in enumerate(steps):
        if step == "put":
            if overflow is Overflow.BLOCK and len(channel) == capacity and not channel.closed:
                continue  # would wait for another thread
            try:
                channel.put(i)
                put.append(i)
            except Closed:
                assert channel.closed
        elif step == "take":
            item = channel.take()
            got += [] if item is None else [item]
        else:
            channel.close(discard=step == "discard")
        stats = channel.stats()
        assert stats.put == stats.got + stats.dropped + stats.waiting
        assert stats.waiting <= capacity
    channel.close(discard=True)
    assert sorted(got + [item for item, _ in dropped]) == put
    assert got == sorted(got)


def test_many_threads_lose_nothing():
    channel = Channel(3)
    got = []
    lock = threading.Lock()

    def write(base):
        for i in range(200):
            channel.put(base + i)

    def read():
        while True:
            try:
                items = channel.get_many(5)
            except Closed:
                return
            with lock:
                got.extend(items)

    writers = [threading.Thread(target=write, args=(1000 * n,)) for n in range(3)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join(20)
    channel.close()
    for thread in readers:
        thread.join(20)
    assert sorted(got) == sorted(1000 * n + i for n in range(3) for i in range(200))
