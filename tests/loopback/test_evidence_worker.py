"""Evidence from a real worker on a real Redis: each picture shows its event's object where the event says it is."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import orjson
import pytest

from streamer.client import Client
from streamer.config import StreamConfig
from streamer.metrics import prometheus_text
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.sources.world import parse_world_url
from streamer.types import Event
from streamer.world import World
from tests.fakes.clips import bar_index, write_clip
from tests.fakes.evidence import picture_in
from tests.fakes.redis_rig import until

ROOT = Path(__file__).parent.parent.parent
STREET = "world://street?seed=11&size=320x180&fps=25&people=4&vehicles=3&noise=1"


class Rig:
    """Redis, a client, and a worker whose engine is `module`'s."""

    def __init__(self, redis: EmbeddedRedis, data_dir: Path, module: str, *options: str) -> None:
        self.client = Client(redis.url)
        self.command = [sys.executable, "-m", module, "worker", *options]
        self.environ = {**os.environ, "REDIS_URL": redis.url, "SIGHTLINE_DATA": str(data_dir)}
        self.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environ)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def events(self, *kinds: str, name: str = "street") -> list[Event]:
        """Oldest first."""
        return self.client.list_events(name, limit=1000, kinds=kinds or None)[::-1]

    def metrics(self) -> str:
        return prometheus_text(orjson.loads(self.client.worker().get("metrics", "[]")))


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def serve(module: str, *streams: StreamConfig, options: tuple[str, ...] = ()) -> Iterator[Rig]:
        with EmbeddedRedis(tmp_path / "data") as redis:
            rig = Rig(redis, tmp_path / "data", module, *options)
            for stream in streams:
                rig.client.add_stream(stream)
            try:
                yield rig
            finally:
                rig.process.kill()
                rig.process.wait()
                rig.client.close()

    return serve


def drawn(frames: int) -> list[np.ndarray[Any, Any]]:
    """The street's own pictures, uint8 (180, 320, 3), drawn anew from its seed."""
    world = World(parse_world_url(STREET))
    return [world.step()[0].copy() for _ in range(frames)]


def apart(shown: np.ndarray[Any, Any], true: np.ndarray[Any, Any], box: list[float]) -> float:
    """Mean difference in grey levels within the box, a pixel around it left out."""
    x1, y1, x2, y2 = (round(v) for v in box)
    part = np.s_[max(0, y1) : max(y1 + 2, y2), max(0, x1) : max(x1 + 2, x2)]
    return float(np.abs(shown[part].astype(float).mean(-1) - true[part].astype(float).mean(-1)).mean())


def test_every_appear_has_a_picture_in_which_its_object_stands_in_the_box(served: Callable[..., Any]) -> None:
    # Not live: read as fast as it is drawn, and no frame is passed over, so seq numbers the street's own frames.
    street = StreamConfig(name="street", url=STREET, realtime=False)
    with served("tests.fakes.worker_truth", street) as rig:
        until(lambda: len(rig.events("appear")) >= 8, "eight objects", 60)
        until(lambda: len(rig.events("leave")) >= 2, "two leave", 60)
        assert rig.end() == 0
        pictures = drawn(max(event.seq for event in rig.events("appear", "leave")) + 4)
        checked = 0
        for event in rig.events("appear", "leave"):
            jpg = rig.client.evidence_picture(event.id)
            kept = rig.client.evidence(event.id)
            assert jpg is not None and kept is not None and kept.path, event.id
            seq = event.seq if event.kind == "appear" else event.evidence["last_seq"]
            box = event.attrs["box_xyxy"]
            assert kept.path[-1]["box_xyxy"] == pytest.approx(box, abs=0.06)
            shown = picture_in(jpg)
            assert shown.shape == (180, 320, 3)
            mine = apart(shown, pictures[seq], box)
            assert mine < 8, (event.id, mine)
            # It is this frame and none beside it: the camera's noise is another in each.
            others = [np.abs(shown.astype(float) - pictures[i]).mean() for i in (seq - 1, seq + 1)]
            assert np.abs(shown.astype(float) - pictures[seq]).mean() < min(others), event.id
            checked += 1
        assert checked >= 10
        clips = [event for event in rig.events("appear", "leave") if rig.client.evidence_clip(event.id)]
        assert clips, "and what happened around some of them can be played"
        assert "evidence_dropped" not in rig.metrics() or 'reason="gone"' not in rig.metrics()


def test_a_file_has_its_pictures_and_a_clip_that_plays(served: Callable[..., Any], tmp_path: Path) -> None:
    file = write_clip(tmp_path / "bars.mp4", 150)
    with served("tests.fakes.worker_main", StreamConfig(name="street", url=str(file))) as rig:
        until(lambda: rig.events("down"), "the file to end", 60)
        until(
            lambda: all(rig.client.evidence_picture(e.id) for e in rig.events("appear", "leave", "down")),
            "their pictures",
        )
        for event in rig.events("up", "appear", "leave", "down"):
            jpg = rig.client.evidence_picture(event.id)
            assert jpg is not None
            seq = event.evidence.get("last_seq", event.seq)
            assert bar_index(picture_in(jpg)) == seq % 50, event.id
        last = rig.events("down")[0].id
        until(lambda: rig.client.evidence_clip(last), "the clip of the end")
        with av.open(io.BytesIO(rig.client.evidence_clip(last))) as film:
            bars = [bar_index(one.to_ndarray(format="rgb24")) for one in film.decode(video=0)]
        assert bars[-1] in (48, 49) and 20 <= len(bars) <= 33, bars
        assert rig.end() == 0


def test_a_killed_worker_leaves_no_more_than_it_may_and_off_is_off(served: Callable[..., Any]) -> None:
    street = StreamConfig(name="street", url=STREET, realtime=False)
    few = ("--evidence-pictures", "3", "--evidence-clips", "1")
    with served("tests.fakes.worker_truth", street, options=few) as rig:
        until(lambda: len(rig.events("appear")) >= 6, "six objects", 60)
        rig.process.kill()
        rig.process.wait()
        first = rig.events()[-1].epoch
        rig.start()
        until(lambda: [e for e in rig.events("appear") if e.epoch > first], "the next connection", 60)

        def kept() -> list[Event]:
            return [e for e in rig.events() if rig.client.evidence_picture(e.id)]

        until(lambda: any(e.epoch > first for e in kept()), "its pictures")
        until(lambda: "sightline_evidence_ring_bytes" in rig.metrics(), "the ring's bytes")
        assert rig.end() == 0
        # Asked one by one, so only now: while it runs, one goes and another comes between two answers.
        assert 1 <= len(kept()) <= 3
        rig.command[-4:] = ["--evidence-pictures", "0", "--evidence-clips", "0"]
        second = rig.events()[-1].epoch
        rig.start()
        until(lambda: [e for e in rig.events("appear") if e.epoch > second], "one more", 60)
        assert "sightline_evidence" not in rig.metrics()
        assert not [e for e in rig.events() if e.epoch > second and rig.client.evidence_picture(e.id)]
        assert rig.end() == 0
