"""`sightline streams`: what a running server watches, and changing that without a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamer.commands.running import DataDirOption, RedisOption

if TYPE_CHECKING:
    from streamer.config import StreamConfig
    from streamer.errors import ConfigError

STATE_COLOURS = {"RUNNING": "green", "RESTARTING": "yellow", "INITIALISING": "yellow", "ERROR": "red"}


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="List, add, pause or remove the streams of a running server."
    )
    group.command("ls", epilog="Example: `sightline streams ls --json`")(list_)
    group.command(epilog="Example: `sightline streams add door rtsp://camera/stream`")(add)
    group.command(epilog="Example: `sightline streams pause door`")(pause)
    group.command(epilog="Example: `sightline streams resume door`")(resume)
    group.command("rm", epilog="Example: `sightline streams rm door`")(remove)
    app.add_typer(group, name="streams")


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the streams with their state."""
    from streamer.client import Client
    from streamer.commands.running import running_redis

    with Client(running_redis(redis, data_dir)) as client:
        found = [(stream, client.state(stream.name)) for stream in client.streams()]
    if as_json:
        import orjson

        rows: list[dict[str, Any]] = [
            {**stream.model_dump(mode="json"), "url": stream.safe_url, "status": dict(state)}
            for stream, state in found
        ]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("stream", "state", "frames/s", "p95 ms", "size", "epoch", "address"):
        table.add_column(heading, overflow="fold")
    for stream, state in found:
        named = state.get("state", "not started")
        colour = STATE_COLOURS.get(named, "dim")
        why = f" {state['error_code']}" if state.get("error_code") else ""
        size = f"{state.get('width', '?')}x{state.get('height', '?')}" if state.get("width") else ""
        numbers = (state.get("fps", ""), state.get("latency_p95_ms", ""), size, state.get("epoch", ""))
        table.add_row(escape(stream.name), f"[{colour}]{named}{why}[/]", *numbers, escape(stream.safe_url))
    Console().print(table)


def add(
    name: Annotated[str, typer.Argument(help="Letters, digits, - _ and .", show_default=False)],
    url: Annotated[
        str, typer.Argument(help="rtsp://…, http(s)://…, a file, /dev/video0 or world://street?seed=7.")
    ],
    loop: Annotated[bool, typer.Option("--loop", help="A file: start again at the end.")] = False,
    realtime: Annotated[
        bool | None, typer.Option("--realtime/--fast", help="A file: by its clock, or as fast as possible.")
    ] = None,
    transport: Annotated[str, typer.Option(help="RTSP: tcp or udp.")] = "tcp",
    max_fps: Annotated[
        float | None, typer.Option(help="Analyse at most this many frames a second.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="A name of `sightline models ls`.")] = "street-nano",
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Add a stream; it starts within a second."""
    from streamer.addresses import local_file
    from streamer.client import Client
    from streamer.commands.running import running_redis
    from streamer.config import stream_config
    from streamer.errors import ConfigError

    file = local_file(url)
    if file is not None:
        # The server may stand in another folder than this shell.
        url = str(Path.cwd() / file)
        if not Path(url).is_file():
            raise ConfigError(f"there is no file {url}", where="URL", mend="give a video file that is there")
    wish = {"name": name, "url": url, "model": model, "loop": loop, "realtime": realtime}
    wish |= {"transport": transport, "max_fps": max_fps}
    stream = stream_config(wish)
    with Client(running_redis(redis, data_dir)) as client:
        if not client.add_stream(stream):
            raise ConfigError(
                f"there is a stream {name} already",
                where="NAME",
                mend=f"take another name, or: sightline streams rm {name}",
            )
    typer.echo(f"{name}: added {stream.safe_url}")


def pause(
    name: Annotated[str, typer.Argument(help="A name of `streams ls`.", show_default=False)],
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Pause a stream: its camera is let go, its configuration stays."""
    _set_paused(name, True, redis, data_dir)
    typer.echo(f"{name}: paused")


def resume(
    name: Annotated[str, typer.Argument(help="A name of `streams ls`.", show_default=False)],
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Go on with a paused stream."""
    _set_paused(name, False, redis, data_dir)
    typer.echo(f"{name}: resumed")


def _set_paused(name: str, paused: bool, redis: str | None, data_dir: Path | None) -> None:
    from streamer.client import Client
    from streamer.commands.running import running_redis

    with Client(running_redis(redis, data_dir)) as client:
        if client.change_stream(name, lambda now: now.model_copy(update={"paused": paused})) is None:
            raise _no_such_stream(name, client.streams())


def _no_such_stream(name: str, streams: Sequence[StreamConfig]) -> ConfigError:
    from streamer.errors import ConfigError

    known = ", ".join(stream.name for stream in streams) or "none"
    return ConfigError(f"there is no stream {name}", where="NAME", mend=f"the streams are: {known}")


def remove(
    name: Annotated[str, typer.Argument(help="A name of `streams ls`.", show_default=False)],
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Remove a stream; its events stay."""
    from streamer.client import Client
    from streamer.commands.running import running_redis

    with Client(running_redis(redis, data_dir)) as client:
        if not client.remove_stream(name):
            raise _no_such_stream(name, client.streams())
    typer.echo(f"{name}: removed")
