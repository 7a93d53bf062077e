"""README is short, and every command in it can be typed: the targets, commands and flags are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from streamer.cli import app

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(text: str) -> list[str]:
    """Lines of fenced blocks, and inline code, that start with `sightline` or `make`; joined where `\\` goes on."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S)
    lines = [
        line.strip().removeprefix("$ ")
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines += re.findall(r"`([^`\n]+)`", prose)
    return [line for line in lines if re.match(r"(\S+/)?(sightline|make) \S", line)]


def check_sightline(words: list[str]) -> str | None:
    """What is wrong with `words` (after `sightline`), or None."""
    command: Any = typer.main.get_command(app)
    for i, word in enumerate(words):
        if word.startswith("-"):
            flag = word.split("=")[0]
            offered = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {
                "--help",
                "-h",
            }
            if flag not in offered and not re.fullmatch(r"-\d+", flag):
                return f"no flag {flag}"
        elif hasattr(command, "commands"):
            if word in command.commands:
                command = command.commands[word]
            elif i == 0 or not re.search(r"[|…<A-Z]", word):
                return f"no command {word}"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_each_command_can_be_typed(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    wrong: list[str] = []
    for line in command_lines(path.read_text("utf-8")):
        words = shlex.split(line.split(" | ")[0].split(" && ")[0], comments=True)
        if words[0].endswith("make"):
            named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            wrong += [f"{line}: no target {word}" for word in named if word not in targets]
        elif problem := check_sightline(words[1:]):
            wrong.append(f"{line}: {problem}")
    assert not wrong


def test_readme_is_short_and_starts_the_demo() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert "make demo" in text
    assert "make test" in text


def test_the_check_itself_finds_what_is_wrong() -> None:
    assert check_sightline(["doctor", "--json"]) is None
    assert check_sightline(["docter"]) == "no command docter"
    assert check_sightline(["doctor", "--jason"]) == "no flag --jason"
    assert check_sightline(["events", "tale"]) is not None
