"""A clip plays: its pictures are the right ones at their own times, and its index stands in front."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from streamer.sinks.clips import AFTER_S, BEFORE_S, CLIP_FPS, Footage, clip_mp4
from streamer.sinks.evidence_picture import SmallPicture
from streamer.sinks.evidence_ring import PictureRing
from tests.fakes.clips import bar_index
from tests.fakes.evidence import small


def boxes(mp4: bytes) -> list[str]:
    """The names of the file's outermost boxes, in order."""
    names, at = [], 0
    while at < len(mp4):
        names.append(mp4[at + 4 : at + 8].decode())
        at += int.from_bytes(mp4[at : at + 4], "big")
    assert at == len(mp4)
    return names


def filmed(fps: int, event_seq: int, frames: int) -> Footage:
    """As the ring does it: the event comes five pictures after its frame."""
    ring = PictureRing()
    footage: Footage | None = None
    for seq in range(frames):
        if (done := ring.put(small(seq, fps=fps))) is not None:
            return done
        ring.judged(1, (seq - 5) / fps, frozenset())
        if seq == event_seq + 5:
            kept = ring.find(1, event_seq)
            assert kept is not None
            footage = Footage("id", kept)
            assert ring.film(footage) == []
    done = ring.cut()
    assert done is footage is not None
    return done


def shown(mp4: bytes) -> list[tuple[float, int]]:
    """(second, bar) of each picture as a player decodes it."""
    with av.open(io.BytesIO(mp4)) as file:
        return [
            (round(float(frame.time or 0), 3), bar_index(frame.to_ndarray(format="rgb24")))
            for frame in file.decode(video=0)
        ]


@pytest.mark.parametrize("fps", [5, 12, 15, 25, 30, 60])
def test_a_clip_shows_two_seconds_before_and_after_at_the_pictures_own_times(fps: int) -> None:
    event = 3 * fps
    footage = filmed(fps, event, 8 * fps)
    seqs = [picture.ref.seq for picture in footage.pictures]
    assert event in seqs
    assert seqs[0] / fps == pytest.approx(3 - BEFORE_S, abs=1.5 / CLIP_FPS)
    assert seqs[-1] / fps == pytest.approx(3 + AFTER_S, abs=max(1.5 / CLIP_FPS, 1 / fps))
    assert 4 * min(fps, CLIP_FPS) * 0.8 <= len(seqs) <= 4 * CLIP_FPS + 3
    mp4 = clip_mp4(footage.pictures)
    assert shown(mp4) == [(round((seq - seqs[0]) / fps, 3), seq % 50) for seq in seqs]
    names = boxes(mp4)
    assert names[0] == "ftyp" and names.index("moov") < names.index("mdat")


def test_what_browsers_need_to_play_it() -> None:
    mp4 = clip_mp4(filmed(25, 75, 200).pictures)
    assert len(mp4) < 600_000
    with av.open(io.BytesIO(mp4)) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("h264", "yuv420p", "Constrained Baseline")
        assert file.duration is not None and file.duration / 1e6 == pytest.approx(4.0, abs=0.15)
        packets = [packet for packet in file.demux(stream) if packet.size]
    assert all(packet.pts == packet.dts for packet in packets), "no picture waits for a later one"
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0 and np.diff(keys).max() <= 15, "one can seek in it"


def test_noise_does_not_make_a_clip_of_megabytes() -> None:
    rng = np.random.default_rng(1)
    pictures = [
        small(seq, fps=15, picture=rng.integers(0, 255, (360, 640, 3), dtype=np.uint8)) for seq in range(60)
    ]
    assert len(clip_mp4(pictures)) < 1_200_000


def test_what_was_there_already_completes_a_clip_at_once() -> None:
    ring = PictureRing()
    for seq in range(140):  # a file read far ahead
        ring.put(small(seq))
    kept = ring.find(1, 60)
    assert kept is not None
    footage, other = Footage("a", kept), Footage("b", kept)
    assert ring.film(footage) == [footage]
    assert footage.pictures[0].ref.seq == 10 and footage.pictures[-1].ref.seq in (109, 110)
    assert ring.cut() is None
    later = ring.find(1, 139)
    assert later is not None
    first, second = Footage("c", later), Footage("d", later)
    assert ring.film(first) == [] and ring.film(second) == [first]
    assert other.pictures == []


def test_only_pictures_of_the_events_connection_and_size_belong_to_it() -> None:
    def of(seq: int, epoch: int = 1, hw: tuple[int, int] = (96, 256)) -> SmallPicture:
        return small(seq, epoch=epoch, picture=np.zeros((*hw, 3), np.uint8))

    footage = Footage("id", of(10))
    assert not footage.add(of(0, epoch=0)) and not footage.add(of(5, hw=(48, 64)))
    assert not footage.add(of(10)) and footage.covers(of(60)) and not footage.covers(of(61))
    assert not footage.covers(of(10, epoch=2))
    assert footage.add(of(11, hw=(48, 64))), "a change of size ends it"
    assert footage.add(of(0, epoch=2)), "so does a reconnect"
    assert [picture.ref.seq for picture in footage.pictures] == [10]


def test_each_picture_is_told_of_between() -> None:
    rests: list[int] = []
    clip_mp4([small(seq) for seq in range(7)], between=lambda: rests.append(1))
    assert len(rests) == 7
