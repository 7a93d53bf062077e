"""`sightline train street`: make the street model's weights from scratch, on the synthetic world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from engines.training.street import TrainingNews

DEFAULT_OUT = Path("runs/street")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Train weights on the synthetic world.")
    group.command(
        epilog="Example: `sightline train street --preset nano --out runs/street`, later again with `--resume`"
    )(street)
    app.add_typer(group, name="train")


def street(
    preset: Annotated[
        str, typer.Option(help="nano, small: the shipped recipes; smoke: seconds, to see that it runs.")
    ] = "nano",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of weights, curve and checkpoint.")
    ] = DEFAULT_OUT,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock budget; default: the preset's.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Budget in steps: the same weights every time.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin with, such as a finished run's.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
) -> None:
    """Train the street model. Ctrl-C loses only what came after the last checkpoint."""
    from engines.training.street import train_street
    from streamer.commands.bars import LateBar

    with LateBar(f"street, preset {preset}") as bar:

        def watch(news: TrainingNews) -> None:
            rate = news.images / news.minutes / 60 if news.minutes else 0.0
            line = f"step {news.step}  {news.images} pictures  {rate:.0f}/s  loss {news.losses['total']:.3f}"
            bar.show(news.share, 1.0, line)

        done = train_street(
            preset, out=out, minutes=minutes, steps=steps, seed=seed, resume=resume, start=start, watch=watch
        )
    typer.echo(
        f"{done.weights}: {done.images} pictures in {done.minutes:.1f} minutes; the curve: {done.curve}"
    )
