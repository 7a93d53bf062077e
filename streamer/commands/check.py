"""`sightline check`: is this YAML right, and does each of its streams show a picture?"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamer.config import StreamConfig

# The size is of no matter here: one frame is decoded to see that it can be.
PROBE_HW = (144, 256)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: `sightline check site.yaml`")(check)


@dataclass(frozen=True, slots=True)
class Found:
    """What opening one stream showed; `problem` is None where a frame was decoded."""

    name: str
    url: str
    codec: str = ""
    size: str = ""
    fps: str = ""
    live: bool = False
    took_s: float = 0.0
    problem: str | None = None
    code: str | None = None


def check(
    config: Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only read the file; open no stream.")] = False,
) -> None:
    """Check a YAML file, then open each of its streams and decode one picture.

    Exit code 1 if the file is wrong, a stream cannot be read or its model cannot say what is wished for: one line for
    each on stderr.
    """
    from streamer.config import load_config

    wishes = load_config(config)
    found: list[Found] = []
    if wishes.streams and not no_open:
        with ThreadPoolExecutor(max_workers=min(8, len(wishes.streams))) as pool:
            found = list(pool.map(_open, wishes.streams))
    found += _unknown_to_models(wishes.streams)
    bad = [f for f in found if f.problem]
    if as_json:
        import orjson

        report: dict[str, Any] = {"file": str(config), "ok": not bad, "streams": [_as_dict(f) for f in found]}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(config, found, len(wishes.streams))
    for f in bad:
        typer.echo(f"{config}: {f.problem}", err=True)
    if bad:
        raise typer.Exit(1)


def _unknown_to_models(streams: list[StreamConfig]) -> list[Found]:
    from streamer.commands.heads import refuse_unknown
    from streamer.errors import SightlineError

    found: list[Found] = []
    for stream in streams:
        try:
            refuse_unknown(stream)
        except SightlineError as error:
            problem = f"stream {stream.name}: {error}"
            found.append(Found(stream.name, stream.safe_url, problem=problem, code="model"))
    return found


def _open(stream: StreamConfig) -> Found:
    from streamer.addresses import published_name
    from streamer.clock import SystemClock
    from streamer.errors import SourceError
    from streamer.sources import open_source

    if published_name(stream.url, stream.name) is not None:
        # It comes to a running server; there is nothing to be opened here.
        return Found(stream.name, stream.safe_url, codec="published")
    started = time.monotonic()
    try:
        source = open_source(stream, epoch=0, input_hw=PROBE_HW, clock=SystemClock(), tap=None)
        try:
            info = source.open()
            frame = next(iter(source.frames()), None)
        finally:
            source.close()
    except SourceError as error:
        return Found(stream.name, stream.safe_url, problem=str(error), code=str(error.code))
    took_s = time.monotonic() - started
    if frame is None:
        return Found(
            stream.name, stream.safe_url, problem=f"stream {stream.name}: it opened, but holds no picture"
        )
    fps = f"{info.fps:g}" if info.fps else "unknown"
    size = f"{info.width}x{info.height}"
    return Found(stream.name, stream.safe_url, info.codec, size, fps, info.live, round(took_s, 3))


def _as_dict(found: Found) -> dict[str, Any]:
    return {key: getattr(found, key) for key in Found.__slots__}


def _show(config: Path, found: list[Found], n_streams: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"{config}: right, {n_streams} stream{'' if n_streams == 1 else 's'}", highlight=False, markup=False
    )
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "stream", "address", "codec", "size", "frames/s", "opened in"):
        table.add_column(heading, overflow="fold")
    for f in found:
        mark = "[red]✗[/]" if f.problem else "[green]✓[/]"
        took = "" if f.problem else f"{f.took_s:.2f} s"
        table.add_row(mark, escape(f.name), escape(f.url), f.codec or (f.code or ""), f.size, f.fps, took)
    console.print(table)
