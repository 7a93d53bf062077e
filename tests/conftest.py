"""What all tests share: where real footage lies, which tools are there, and that nothing is left running.

A tool that is missing skips its tests on a person's machine and fails them where CI=true. Tests marked `media` are
left out, and the header says so, unless SIGHTLINE_TEST_MEDIA names a folder that holds people.mp4.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
CI = os.environ.get("CI", "").lower() == "true"


def _media() -> Path | None:
    named = os.environ.get("SIGHTLINE_TEST_MEDIA")
    folder = Path(named) if named else None
    return folder if folder is not None and (folder / "people.mp4").is_file() else None


def pytest_report_header() -> str:
    folder = _media()
    return f"real footage: {folder or 'none (SIGHTLINE_TEST_MEDIA): tests marked media are left out'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _media() is not None:
        return
    left_out = [item for item in items if item.get_closest_marker("media")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def people_mp4() -> Path:
    """A real corridor camera (H.264 with B-frames). A test that takes this is marked `media`."""
    folder = _media()
    assert folder is not None, "mark this test with pytest.mark.media"
    return folder / "people.mp4"


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program on PATH; without it the test is skipped, or fails where CI=true."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            (pytest.fail if CI else pytest.skip)(f"{name} is not on PATH")
        assert path is not None
        return path

    return find


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sightline(tmp_path: Path) -> Run:
    """Run the real command line in a process of its own, with a data folder of its own."""

    def run(*args: str, timeout_s: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "SIGHTLINE_DEBUG")}
        env = {**kept, "SIGHTLINE_DATA": str(tmp_path / "data"), "COLUMNS": "100", "NO_COLOR": "1", **environ}
        command = [sys.executable, "-c", "from streamer.cli import main; main()", *args]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """After the last test no process that a test started is alive."""
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    yield
    children = [child for child in me.children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(children, timeout=5)
    left = [f"{child.pid} {' '.join(child.cmdline())[:100]}" for child in alive if _is_ours(child)]
    assert not left, f"left running: {left}"


def _is_ours(process: psutil.Process) -> bool:
    # Python's own helper of multiprocessing lives as long as the interpreter.
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "multiprocessing.resource_tracker" not in words and process.status() != psutil.STATUS_ZOMBIE
