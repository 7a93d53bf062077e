"""`sightline demo`: a few synthetic streets, served at once, with no camera and no file to write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamer.config import StreamConfig

# Name and what differs: three hours, three weathers, three seeds. More streams are these again with other seeds.
STREETS = (
    ("noon", "seed=7&people=7&hour=13"),
    ("rain", "seed=21&people=6&hour=17.5&weather=rain"),
    ("night", "seed=33&people=5&hour=22"),
    ("morning", "seed=54&people=6&hour=8&weather=overcast"),
)
PICTURE = "size=640x360&fps=12.5"
MOST_STREAMS = 32
# A street is built in about 1.5 s of CPU; many at once on a busy laptop must not look as if they hung.
BUILD_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: `sightline demo`, `sightline demo --port 7861 --streams 4 --no-browser`")(
        demo
    )


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The page's port on this machine.")] = 7860,
    streams: Annotated[int, typer.Option(min=1, max=MOST_STREAMS, help="How many streets.")] = 3,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page when it is ready.")
    ] = True,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where engines and Redis' data are kept.", envvar="SIGHTLINE_DATA")
    ] = None,
) -> None:
    """Serve a few synthetic streets and print the page's address. Ctrl-C ends it and leaves nothing behind."""
    from streamer.commands.launch import launch
    from streamer.config import Config

    chosen: dict[str, Any] = {"streams": demo_streams(streams), "port": port}
    if data_dir is not None:
        chosen["data_dir"] = data_dir
    launch(Config(**chosen), open_browser=browser, log_level="WARNING")


def demo_streams(count: int) -> list[StreamConfig]:
    """`count` streets, each with a name and a seed of its own."""
    from streamer.config import StreamConfig

    made = []
    for i in range(count):
        name, look = STREETS[i % len(STREETS)]
        again = i // len(STREETS)
        if again:
            seed, rest = look.split("&", 1)
            name, look = f"{name}-{again + 1}", f"seed={int(seed.removeprefix('seed=')) + 100 * again}&{rest}"
        url = f"world://street?{look}&{PICTURE}"
        made.append(StreamConfig(name=name, url=url, open_timeout_s=BUILD_TIMEOUT_S))
    return made
