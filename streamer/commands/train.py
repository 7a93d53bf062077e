"""`sightline train street`: the street model's weights, from the synthetic world or tuned on data of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.errors import SightlineError

if TYPE_CHECKING:
    from engines.training.own_data import OwnData
    from engines.training.street import TrainingNews

DEFAULT_OUT = Path("runs/street")
SHIPPED = "street-nano"


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Train weights, on the synthetic world or on your own data."
    )
    group.command(
        epilog="Examples: `sightline train street --preset nano --out runs/street`, later again with `--resume`; "
        "`sightline train street --data coco:shop --out runs/shop`"
    )(street)
    app.add_typer(group, name="train")


def street(
    preset: Annotated[
        str | None,
        typer.Option(
            help="nano, small: the shipped recipes; finetune: for --data; smoke: seconds, to see that it runs. "
            "Default: nano, with --data finetune.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of weights, curve and checkpoint.")
    ] = DEFAULT_OUT,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock budget; default: the preset's.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Budget in steps: the same weights every time.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    start: Annotated[
        str | None,
        typer.Option(
            help="Weights to begin with: a name of `sightline models ls` or a file, such as a finished run's. "
            f"Default: none, with --data {SHIPPED}.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Your own data in place of the world: coco:DIR or mot:DIR.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="With --data: the new model's labels, as a,b,c.", show_default=False),
    ] = None,
    renames: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="With --data: old=new, the data's name and the model's label; old= leaves it out; *= leaves all "
            "other names out. May be given often.",
            show_default=False,
        ),
    ] = None,
    holdout: Annotated[
        float, typer.Option(help="With --data: the share of it that is kept to measure on, 0 to below 1.")
    ] = 0.2,
    rehearse: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.9,
            help="With --data: the share of clips that go on showing the world, so that what the data is silent about "
            "is not forgotten; default: the preset's, a quarter.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        str,
        typer.Option(
            help="An ablation: train with one idea of the model out of action, as in `sightline eval --without`.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Train the street model. Ctrl-C loses only what came after the last checkpoint."""
    from engines.training.street import train_street
    from engines.zoo import find_weights
    from streamer.commands.bars import LateBar

    own: OwnData | None = None
    weights = find_weights(start or SHIPPED) if start is not None or data is not None else None
    if data is not None and weights is not None:
        from engines.training.own_data import open_data

        names = [label.strip() for label in labels.split(",")] if labels is not None else []
        own = open_data(
            data, weights, labels=names, renames=_pairs(renames or ()), holdout=holdout, seed=seed
        )
        for line in own.told():
            typer.echo(line)
    elif labels is not None or renames or rehearse is not None:
        raise SightlineError("there is no data", where="--labels, --map, --rehearse", mend="add --data")
    preset = preset or ("finetune" if own is not None else "nano")
    with LateBar(f"street, preset {preset}") as bar:

        def watch(news: TrainingNews) -> None:
            rate = news.images / news.minutes / 60 if news.minutes else 0.0
            line = f"step {news.step}  {news.images} pictures  {rate:.0f}/s  loss {news.losses['total']:.3f}"
            if news.part != "trunk":
                line = f"{news.part}  loss {news.losses['total']:.3f}"
            bar.show(news.share, 1.0, line)

        done = train_street(
            preset, out=out, minutes=minutes, steps=steps, seed=seed, resume=resume, start=weights,
            rehearsal=rehearse, without=without, data=own, watch=watch,
        )  # fmt: skip
    typer.echo(
        f"{done.weights}: {done.images} pictures in {done.minutes:.1f} minutes; the curve: {done.curve}"
    )
    if done.before is not None and done.after is not None:
        typer.echo(
            f"held-out pictures: AP {done.before['ap']:.3f} before, {done.after['ap']:.3f} after; "
            f"AP50 {done.before['ap50']:.3f} before, {done.after['ap50']:.3f} after"
        )


def _pairs(renames: Sequence[str]) -> dict[str, str]:
    """`old=new` by old name. Raises SightlineError for what has no `=` or no old name."""
    pairs: dict[str, str] = {}
    for text in renames:
        old, equals, new = text.partition("=")
        if not equals or not old.strip():
            raise SightlineError(f"{text!r} is no pair of names", where="--map", mend="write --map old=new")
        pairs[old.strip()] = new.strip()
    return pairs
