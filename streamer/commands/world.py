"""`sightline world render`: a clip of the synthetic street, and the truth about each of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The synthetic street: clips and their truth.")
    group.callback()(_group)
    group.command(
        epilog="Example: `sightline world render --seed 7 --seconds 20 -o clip.mp4 --truth truth.jsonl`"
    )(render)
    app.add_typer(group, name="world")


def _group() -> None:
    """The synthetic street: clips and their truth."""


def render(
    out: Annotated[Path, typer.Option("--out", "-o", help="The clip, .mp4 or .mkv.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pixels.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long.")] = 20.0,
    truth: Annotated[
        Path | None,
        typer.Option(help="JSON lines: boxes, masks, identities, actions, key points.", show_default=False),
    ] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")] = "640x360",
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 12.5,
    people: Annotated[int | None, typer.Option(help="Pedestrians; default: drawn from the seed.")] = None,
    vehicles: Annotated[int | None, typer.Option(help="Vehicles; default: drawn from the seed.")] = None,
    dogs: Annotated[int | None, typer.Option(help="Dogs; default: drawn from the seed.")] = None,
    weather: Annotated[str, typer.Option(help="clear, overcast, rain, fog or snow.")] = "clear",
    hour: Annotated[
        float | None, typer.Option(help="Of the day, 0 to 24; default: drawn from the seed.")
    ] = None,
    theme: Annotated[
        str | None, typer.Option(help="Of the houses, like brick or glass; default: drawn from the seed.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="street, high or low; default: drawn from the seed.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Of the sensor, in grey levels; default: drawn from the seed.")
    ] = None,
    shake: Annotated[
        float | None,
        typer.Option(help="Sway in pixels of a picture 144 rows high; default: drawn from the seed."),
    ] = None,
    zoom: Annotated[float, typer.Option(help="How much nearer the camera comes and goes, 0 to 1.")] = 0.0,
    blur: Annotated[float, typer.Option(help="Sigma in pixels of a picture 144 rows high.")] = 0.0,
    exposure: Annotated[float, typer.Option(help="How far the camera's gain drifts, 0 to 1.")] = 0.0,
    compression: Annotated[int, typer.Option(help="JPEG quality of the camera, 2 to 95; 0 = none.")] = 0,
    lookalikes: Annotated[float, typer.Option(help="Share of people in one uniform, 0 to 1.")] = 0.0,
    events: Annotated[float, typer.Option(help="How much happens besides falls, 0 to 1.")] = 0.0,
) -> None:
    """Write a clip of the street and, if asked, the truth about each frame."""
    from streamer.commands.bars import LateBar
    from streamer.world import WorldConfig
    from streamer.world.render import render_clip

    height, width = _height_width(size)
    looks: dict[str, Any] = {
        "people": people,
        "vehicles": vehicles,
        "dogs": dogs,
        "weather": weather,
        "hour": hour,
        "theme": theme,
        "view": view,
        "noise": noise,
        "shake": shake,
        "zoom": zoom,
        "blur": blur,
        "exposure": exposure,
        "compression": compression,
        "lookalikes": lookalikes,
        "events": events,
    }
    config = WorldConfig(seed=seed, height=height, width=width, fps=fps, **looks)
    with LateBar(str(out)) as bar:
        frames = render_clip(config, seconds, out, truth, progress=bar.show)
    told = f"{out}: {frames} frames of {width}x{height}, seed {seed}"
    typer.echo(f"{told}; truth: {truth}" if truth is not None else told)


def _height_width(size: str) -> tuple[int, int]:
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{size} is no size: write WIDTHxHEIGHT, like 640x360", param_hint="--size")
    return int(height), int(width)
