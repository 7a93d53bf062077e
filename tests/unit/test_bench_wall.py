"""What `bench wall` rests on: the rule for what grows, whose memory is whose, what a tile showed, and its refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.cli import run
from streamer.commands.bench import _tell_wall
from streamer.commands.watching import memory
from streamer.commands.watching.growth import THIRD_LEAST, any_grows, trend
from streamer.commands.watching.memory import held_mib, measure_of, part_of, same_processes, server_parts
from streamer.commands.watching.painted import MODULUS
from streamer.commands.watching.wall import Samples, Wish, answer
from streamer.commands.watching.wall_page import tiles_of
from streamer.errors import SightlineError

TEN_MINUTES_S = np.arange(0, 600, 5.0)


def noise(seed: int, sigma: float = 0.5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, sigma, len(TEN_MINUTES_S))


def saw(height: float, period_s: float) -> np.ndarray[Any, Any]:
    return height * (TEN_MINUTES_S % period_s) / period_s


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_among_noise_is_found_and_its_slope_told(seed: int) -> None:
    found = trend(TEN_MINUTES_S, list(300 + 1.5 * TEN_MINUTES_S / 60 + noise(seed)))
    assert found.grows is True
    assert found.slope_mib_per_min == pytest.approx(1.5, abs=0.05)
    assert found.slope_low < 1.5 < found.slope_high
    assert found.end_mib - found.start_mib == pytest.approx(15, abs=2)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_growth(seed: int) -> None:
    found = trend(TEN_MINUTES_S, list(300 + noise(seed, 3)))
    assert found.grows is False
    assert abs(found.slope_mib_per_min) < 0.3


@pytest.mark.parametrize("period_s", [35, 60, 95, 130, 200, 390])
def test_a_saw_tooth_is_no_growth_though_its_height_is_a_fifth(period_s: float) -> None:
    assert trend(TEN_MINUTES_S, list(100 + saw(20, period_s))).grows is False


def test_a_saw_tooth_that_climbs_is() -> None:
    assert trend(TEN_MINUTES_S, list(100 + saw(5, 35) + 2 * TEN_MINUTES_S / 60)).grows is True


def test_what_rises_early_and_then_stays_has_not_grown() -> None:
    assert trend(TEN_MINUTES_S, list(300 + 40 * np.minimum(TEN_MINUTES_S / 150, 1) + noise(1))).grows is False
    late = 300 + 40 * (TEN_MINUTES_S > 420) + noise(1)  # a step in the last third, which stays
    assert trend(TEN_MINUTES_S, list(late)).grows is True


def test_one_wild_sample_decides_nothing() -> None:
    sizes = 300 + noise(3)
    sizes[-2] += 500
    found = trend(TEN_MINUTES_S, list(sizes))
    assert found.grows is False
    assert abs(found.slope_mib_per_min) < 0.1


@given(st.floats(1, 4000), st.integers(0, 100))
def test_what_never_moves_never_grows(mib: float, more: int) -> None:
    found = trend(range(9 + more), [mib] * (9 + more))
    assert (found.grows, found.slope_mib_per_min, found.noise_mib) == (False, 0, 0)


def test_a_short_series_says_nothing_and_an_empty_one_is_refused() -> None:
    few = 3 * THIRD_LEAST - 1
    assert trend(range(few), [100.0 * i for i in range(few)]).grows is None
    assert trend(range(few + 1), [100.0 * i for i in range(few + 1)]).grows is True
    with pytest.raises(ValueError, match="two or more"):
        trend([1.0], [1.0])
    with pytest.raises(ValueError, match="2 times and 3 sizes"):
        trend([1.0, 2.0], [1.0, 2.0, 3.0])


def test_one_that_grows_is_enough_and_one_unknown_spoils_the_rest() -> None:
    flat, up, short = (
        trend(range(9), [100.0] * 9),
        trend(range(9), [100.0 + 9 * i for i in range(9)]),
        trend(range(2), [1.0, 1.0]),
    )
    assert any_grows([flat, up, short]) is True
    assert any_grows([flat, short]) is None
    assert any_grows([flat]) is False


HOLDS = """
print('ready', flush=True); input()
held = bytearray(b'1') * (64 << 20)
print('held', flush=True); input()
"""


def test_memory_is_that_of_the_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:  # this process may have kept the memory of earlier tests, and then takes none
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        measure = measure_of(child.pid)
        before = held_mib([child.pid], measure)
        child.stdin.write("\n")
        assert child.stdout.readline() == "held\n"
        assert held_mib([child.pid], measure) - before == pytest.approx(64, abs=8)
        rss = psutil.Process(child.pid).memory_info().rss / 2**20
        assert held_mib([child.pid, child.pid], "rss") == pytest.approx(2 * rss, rel=0.05)
        child.stdin.write("\n")


def test_where_the_kernel_does_not_tell_the_shares_the_resident_size_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(pid)

    monkeypatch.setattr(memory, "_pss_bytes", refuse)
    assert measure_of() == "rss"


@pytest.mark.parametrize("measure", ["pss", "rss"])
def test_a_process_that_ended_is_told_as_such(measure: str) -> None:
    with pytest.raises(psutil.NoSuchProcess):
        held_mib([2**22 + 1], measure)  # above the kernel's highest number


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("python -P -m streamer.cli worker --backend openvino", "worker"),
        ("python -P -m streamer.cli web --port 7860", "web"),
        ("python -m streamer.cli streams ls", ""),
        ("python -c pass", ""),
        ("", ""),
    ],
)
def test_a_part_is_known_by_its_command(command: str, part: str) -> None:
    assert part_of(command.split()) == part


def test_redis_is_known_though_its_address_stands_in_the_same_word() -> None:
    assert part_of(["/opt/bin/redis-server unixsocket:/tmp/sightline/redis.sock"]) == "redis"


def test_a_server_without_its_parts_is_refused() -> None:
    with pytest.raises(SightlineError, match="no worker and no web and no redis"):
        server_parts(psutil.Process())


def test_a_part_that_was_started_again_ends_the_measurement() -> None:
    before = {"web": frozenset({5}), "worker": frozenset({6, 7})}
    same_processes(before, {"web": frozenset({5}), "worker": frozenset({6, 8})})
    with pytest.raises(SightlineError, match="the web ended and was started again"):
        same_processes(before, {"web": frozenset({9}), "worker": frozenset({6})})


def look(at_s: float, shown: int, **more: Any) -> dict[str, Any]:
    told = {"stream": "cam1", "shown": shown, "heard": shown // 2, "live": True}
    told |= {"dropped": 2, "results": 7, "connects": 1}
    return {"at_s": at_s, "tiles": [{**told, "painted": 100, "now_ms": MODULUS + 250, **more}]}


def test_a_tile_is_told_by_what_it_showed_between_the_looks() -> None:
    looks = [
        look(10, 40),
        look(15, 100, dropped=3, results=12),
        look(25, 140, live=False, painted=MODULUS - 50),
        look(30, 200, dropped=5, results=27, connects=2),
    ]
    tile = tiles_of(looks)["cam1"]
    assert (tile.fps_min, tile.fps_median) == (4, 12)
    assert (tile.shown, tile.heard, tile.dropped, tile.results, tile.connects) == (160, 80, 3, 20, 1)
    assert tile.dead_looks == 1
    assert (tile.age_p50_ms, tile.age_max_ms) == (150, 300)


def seen(web: np.ndarray[Any, Any]) -> dict[str, Any]:
    samples = Samples(looks=[look(10, 40), look(15, 100)])
    for at_s, mib in zip(TEN_MINUTES_S, web, strict=True):
        samples.add("web", at_s, mib)
        samples.add("redis data", at_s, 4.0)
    samples.add("passing", 0.0, 1.0)  # seen once: there is no trend to tell
    wish = Wish(9, 12.5, 600, 60, 1, Path(), "chromium")
    return answer(wish, samples)


def test_the_answer_names_who_grows(capsys: pytest.CaptureFixture[str]) -> None:
    found = seen(200 + 3 * TEN_MINUTES_S / 60)
    assert found["grows"] is True
    assert {name: each["grows"] for name, each in found["memory"].items()} == {
        "web": True,
        "redis data": False,
    }
    assert found["heard"] == 0.5
    assert (found["fps_median"], found["fps_worst_tile"], found["fps_min"]) == (12, 12, 12)
    _tell_wall(found)
    lines = capsys.readouterr().out.splitlines()
    (web,) = (line for line in lines if line.startswith("web"))
    (redis,) = (line for line in lines if line.startswith("redis data"))
    assert web.rstrip().endswith(" grows") and "+3.00" in web
    assert redis.rstrip().endswith(" steady")
    assert seen(200 + noise(1))["grows"] is False


def test_without_a_browser_it_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run(["bench", "wall"]) == 1
    assert capsys.readouterr().err == "bench wall: there is no Chromium on this machine — install it\n"


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--cameras", "10"], "--cameras"),
        (["--cameras", "0"], "--cameras"),
        (["--fps", "0"], "--fps"),
        (["--minutes", "0"], "--minutes"),
        (["--analysed-fps", "0"], "--analysed-fps"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_a_line(
    flags: list[str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "wall", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert field in line and "sightline bench wall --help" in line
