"""`sightline serve`: everything that one YAML file wishes, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamer.config import Config


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Example: `sightline serve site.yaml`, with `streams: {door: 'rtsp://camera/stream'}` in it"
    )(serve)


def serve(
    config: Annotated[Path, typer.Argument(help="The YAML file.", metavar="CONFIG", show_default=False)],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The page's port, instead of the file's.", show_default=False),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on, instead of the file's.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where engines and Redis' data are kept.", show_default=False)
    ] = None,
) -> None:
    """Serve the streams of a YAML file: results and events in Redis, the page and the API on one port.

    A stream that cannot be opened is tried again and shown as such; the others go on. Ctrl-C or SIGTERM ends all.
    """
    from streamer.commands.launch import launch
    from streamer.config import load_config

    launch(with_flags(load_config(config), port=port, host=host, data_dir=data_dir), source=config)


def with_flags(config: Config, **flags: Any) -> Config:
    """The file's wishes with those of the command line over them, checked again as a whole."""
    given = {name: value for name, value in flags.items() if value is not None}
    return type(config)(**{**dict(config), **given})
