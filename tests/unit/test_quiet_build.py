"""A build that nobody waits for stays behind everybody, and ends when somebody waits; any other is as it always was."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from engines.build.child import run_child
from streamer.clock import FakeClock
from streamer.commands import why
from streamer.errors import EngineError
from streamer.metrics import Metrics
from streamer.remembered import Served

CHILD = "tests.fakes.quiet_child"

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="the idle class is Linux's")


def test_a_quiet_build_has_the_idle_class_and_one_thread_and_ends_when_it_is_hurried(tmp_path: Path) -> None:
    hurry, said = threading.Event(), list[str]()

    def say(stage: str) -> None:
        said.append(stage)
        hurry.set()

    with pytest.raises(EngineError, match="hurried, and so ended while idle True, threads 1"):
        run_child(CHILD, [], tmp_path / "log", "building it", 60.0, say, hurry=hurry)
    assert said == ["idle True, threads 1"]


def test_any_other_build_is_scheduled_as_its_parent_and_ends_at_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    said: list[str] = []
    with pytest.raises(EngineError, match=r"no end after \d+ s of (starting|idle False, threads 3)"):
        run_child(CHILD, [], tmp_path / "log", "building it", 5.0, said.append)
    assert said in (["idle False, threads 3"], [])


def test_what_somebody_waits_for_is_begun_again_in_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[threading.Event | None] = []

    def open_attention(model: str, *, hurry: threading.Event | None, **_: Any) -> str:
        asked.append(hurry)
        if hurry is not None:
            raise EngineError("hurried, and so ended" if hurry.is_set() else "the graph is refused")
        return f"attention of {model}"

    monkeypatch.setattr("engines.attention.open_attention", open_attention)
    whys = why.Whys(
        "redis://127.0.0.1:1", tmp_path, on=True, backend="openvino", clock=FakeClock(), metrics=Metrics()
    )
    served, hurry = Served("street-nano", "street-nano", "f32"), threading.Event()
    with pytest.raises(EngineError, match="refused"):
        whys._open(served, hurry)
    assert asked == [hurry]
    hurry.set()
    assert str(whys._open(served, hurry)) == "attention of street-nano"
    assert asked == [hurry, hurry, None]
