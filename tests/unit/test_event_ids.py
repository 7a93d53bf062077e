"""An event's id says all that makes it one of its kind, and can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import EventKind, event_id, event_id_parts

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_. -]{0,20}\Z")
COUNTS = st.integers(0, 2**40)


@given(NAMES, COUNTS, COUNTS, st.sampled_from(EventKind), st.none() | COUNTS, st.just("") | NAMES)
def test_an_id_is_read_back(stream, epoch, seq, kind, track, region):
    assert event_id_parts(event_id(stream, epoch, seq, kind, track, region)) == (
        *(stream, epoch, seq, kind, track, region),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "door",
        "door:1:x:appear:3",
        "door:1:2:appear",
        ":1:2:appear:3",
        "door:1:2:enter:3:a:b",
        "d:1:2:up:x",
    ],
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError):
        event_id_parts(text)
