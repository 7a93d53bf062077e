"""`sightline events tail`: what happened and what happens, one event a line, made to be piped."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.commands.running import DataDirOption, RedisOption

if TYPE_CHECKING:
    from streamer.client import Cursor
    from streamer.types import Event

DEFAULT_LINES = 10


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Read the events of a running server.")
    group.callback()(_group)
    group.command(
        epilog="Examples: `sightline events tail --stream door --kind appear`, "
        "`sightline events tail --json --from start --no-follow | jq .attrs.label`"
    )(tail)
    app.add_typer(group, name="events")


def _group() -> None:
    """Read the events of a running server."""


def tail(
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="CURSOR",
            help="Go on behind this: start, now, a cursor, or (with one --stream) a Redis entry id.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.", show_default=False)] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only of this kind, such as appear, enter or cross.", show_default=False),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="First the newest of the past; not with --from.")
    ] = DEFAULT_LINES,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Wait for more, or end with what there is.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as in Redis.")] = False,
    redis: RedisOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print events as they come: first the newest of the past, then each new one.

    At the end, the cursor to go on from is told on stderr; nothing is lost or doubled between two runs with it.
    """
    import orjson

    from streamer.client import Client, Cursor
    from streamer.commands.running import running_redis
    from streamer.wire import decode_event, encode_event

    _check_kind(kind)
    start = _start(since, stream)

    def show(event: Event) -> None:
        sys.stdout.write((encode_event(event).decode() if as_json else _told(event)) + "\n")
        sys.stdout.flush()  # the next program in the pipe sees each event when it happens

    with Client(running_redis(redis, data_dir)) as client:
        try:
            if start is None and since is None and lines:
                page = client.events_page(stream, kind, limit=lines)
                for found in reversed(page.events):
                    show(decode_event(orjson.dumps(found)))
                start = Cursor.parse(page.next)
            events = client.events(
                None if stream is None else [stream],
                cursor=start,
                kinds=None if kind is None else [kind],
                block_s=None if follow else 0.0,
            )
            try:
                for event in events:
                    show(event)
            finally:
                if events.missed:
                    typer.echo(f"{events.missed} events were no longer kept", err=True)
                if sys.stderr.isatty() or since is not None:
                    typer.echo(f"go on with --from {events.cursor.token}", err=True)
        except BrokenPipeError:
            # `… | head`: the reader has seen enough. Python must not flush into the closed pipe at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _start(since: str | None, stream: str | None) -> Cursor | None:
    """Where to begin; None: from now."""
    from streamer.client import Cursor
    from streamer.client.cursor import entry_id
    from streamer.errors import WireError

    if since is None or since == "now":
        return None
    if since == "start":
        return Cursor.beginning()
    if stream is not None:
        try:
            return Cursor({stream: entry_id(since)})
        except ValueError:
            pass  # a cursor then
    try:
        return Cursor.parse(since)
    except WireError:
        mend = "give start, now, a cursor that this command told, or with --stream an entry id such as 1700000000000-5"
        raise WireError("not a place in the events", where=f"--from {since[:40]}", mend=mend) from None


def _check_kind(kind: str | None) -> None:
    from streamer.types import EventKind

    known = [str(each) for each in EventKind]
    if kind is not None and kind not in known:
        raise typer.BadParameter(f"{kind} is no kind of event: use {', '.join(known)}", param_hint="--kind")


def _told(event: Event) -> str:
    """One event as a line for people."""
    at = datetime.fromtimestamp(event.wall_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]
    said = event.attrs
    if event.track_id is None:
        what = " ".join(str(said[key]) for key in ("code", "message") if said.get(key))
    else:
        box = ",".join(f"{v:.0f}" for v in said.get("box_xyxy", ()))
        does = "".join(f"  {said[key]}" for key in ("action", "zone", "line", "direction") if key in said)
        what = (
            f"{said.get('label', '?')} #{event.track_id}{does}  score {said.get('score', 0.0):.2f}  box {box}"
        )
    return f"{at}  {event.stream:<12}  {event.kind:<6}  {what}".rstrip()
