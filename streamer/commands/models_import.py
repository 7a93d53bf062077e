"""`sightline models import`: the authors' own checkpoint in, a model of ours out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamer.errors import ConfigError


def import_(
    file: Annotated[
        Path, typer.Argument(help="The checkpoint: .pth, .pt, .pyth or .safetensors.", show_default=False)
    ],
    family: Annotated[
        str,
        typer.Option(help="detr, trackformer, vtn, setr or vit: whose layout it has.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it; default: the file's name.", show_default=False)
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the engine's picture.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A text file with one class name a line.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The data folder that gets it.", show_default=False)
    ] = None,
) -> None:
    """Check every tensor of a checkpoint, and keep it as a model that streams can name.

    A missing, left-over or misshapen tensor is named in one line, and nothing is written. Code that a file brings along
    is never run.
    """
    from engines.checkpoints.importing import import_checkpoint
    from streamer.config import default_data_dir

    options: dict[str, Any] = {}
    if size is not None:
        options["height"], options["width"] = _height_width(size)
    if labels is not None:
        options["labels"] = _lines(labels)
    called = name or file.stem
    if "/" in called or not called:
        raise ConfigError(f"{called!r} is no name", where="--name", mend="letters, digits and dashes")
    out = (data_dir or default_data_dir()) / "models" / f"{called}.safetensors"
    done = import_checkpoint(file, family, out, options)
    typer.echo(f"{done.weights}: {done.tensors} tensors, {done.parameters / 1e6:.1f} M parameters, all fit")
    typer.echo(f"next: sightline models build {called if data_dir is None else done.weights}", err=True)


def _height_width(size: str) -> tuple[int, int]:
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"{size!r} is no size", where="--size", mend="write WIDTHxHEIGHT, like 640x360")
    return int(height), int(width)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        found = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the labels cannot be read: {error}", where=str(path)) from None
    if not found:
        raise ConfigError("no label in it", where=str(path), mend="write one class name a line")
    return found
