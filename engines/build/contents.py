"""What a model consists of on disk, for the digest: one file, a folder of a public library, a graph with its data."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from streamer.errors import EngineError

# Of a folder: its configuration and its weights, whole or in parts. Readmes and other backends' weights do not matter.
_FOLDER_FILES = (
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
)

# In ONNX, a tensor kept outside names its file in an entry `location` (onnx.proto, StringStringEntryProto): key, value.
_LOCATION = re.compile(rb"\x0a\x08location\x12(.)")


def digest(model: Path) -> str:
    """Of all files that decide what a model answers, by name and content. Raises EngineError if one cannot be read."""
    parts = list(files(model))
    if parts == [model]:
        return sha256(model)
    each = "".join(f"{path.name} {sha256(path)}\n" for path in parts)
    return hashlib.sha256(each.encode()).hexdigest()


def files(model: Path) -> Iterator[Path]:
    """A model's files, in order: of a folder those that matter, of a graph also what it refers to, and its card."""
    if model.is_dir():
        yield from sorted({path for pattern in _FOLDER_FILES for path in model.glob(pattern)})
        return
    yield model
    if model.suffix == ".onnx":
        yield from sorted(path for path in {*_referred(model), model.with_suffix(".yaml")} if path.is_file())


def _referred(graph: Path) -> Iterator[Path]:
    """The files beside a graph that hold its tensors; the graph is searched, not parsed."""
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            names = {
                bytes(text[found.end() : found.end() + found[1][0]]) for found in _LOCATION.finditer(text)
            }
    except (OSError, ValueError):  # an empty file cannot be mapped; whoever parses it says what is wrong
        return
    for name in names:
        yield graph.parent / name.decode(errors="replace")


def sha256(path: Path) -> str:
    """Of a file's bytes. Raises EngineError, one line, if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(path)) from None
