"""`sightline eval street`: how good a model is on streets it has never seen, with pycocotools and motmetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engines.evaluation.street import StreetScores


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Measure a model against the truth.")
    group.command(epilog="Example: `sightline eval street --json | jq .ap50`")(street)
    app.add_typer(group, name="eval")


def street(
    model: Annotated[
        str, typer.Option(help="A name of `sightline models ls`, or a .safetensors file.")
    ] = "street-nano",
    backend: Annotated[
        str, typer.Option(help="openvino, onnx, torch, tensorrt or tensorrt-rtx.")
    ] = "openvino",
    precision: Annotated[str, typer.Option(help="auto, f16, bf16 or f32.")] = "auto",
    sequences: Annotated[
        int, typer.Option(min=1, max=64, help="Streets, each of its own held-out seed.")
    ] = 6,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each, at 12.5 a second.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Measure detection, masks and identities on held-out streets.

    This is accuracy in the synthetic world, not on your camera.
    """
    from streamer.commands.bars import LateBar

    with LateBar("held-out streets") as bar:
        scores, how = _measure(
            model,
            backend,
            precision,
            sequences,
            frames,
            lambda done: bar.show(done, frames, "held-out streets"),
        )
    if as_json:
        import orjson

        typer.echo(orjson.dumps({**how, **scores.to_dict()}, option=orjson.OPT_INDENT_2).decode())
        return
    _show(scores, how)


def _measure(
    model: str, backend: str, precision: str, sequences: int, frames: int, watch: Any
) -> tuple[StreetScores, dict[str, str]]:
    from engines.evaluation.street import evaluate_street
    from engines.tasks.track import TrackTask
    from engines.zoo import open_engine
    from streamer.config import Config

    engine = open_engine(
        model,
        backend=backend,
        precision=precision,
        max_batch_size=max(8, sequences),
        cache_dir=Config().engine_cache,
        on_progress=lambda line: typer.echo(line, err=True),
    )
    try:
        spec = engine.spec
        task = TrackTask.from_spec(spec)
        scores = evaluate_street(
            engine.infer,
            input_hw=spec.input_hw,
            slots=task.slots,
            dim=task.dim,
            labels=task.labels,
            rules=task.rules,
            sequences=sequences,
            frames=frames,
            watch=watch,
        )
    finally:
        engine.close()
    return scores, {
        "model": spec.name,
        "backend": spec.backend,
        "precision": spec.precision,
        "digest": spec.digest,
    }


def _show(scores: StreetScores, how: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "clear", "everything", box=None, pad_edge=False)
    counts = (scores.clear, scores.everything)
    for name in ("AP50", "AP", "MOTA", "IDF1"):
        table.add_row(name, *(f"{getattr(count, name.lower()):.3f}" for count in counts))
    for name in scores.clear.ap50_by_class:
        values = [count.ap50_by_class[name] for count in counts]
        table.add_row(f"AP50 {name}", *(f"{v:.3f}" if v == v else "none there" for v in values))
    for name in ("switches", "misses", "false_positives", "objects"):
        table.add_row(name.replace("_", " "), *(str(getattr(count, name)) for count in counts))
    table.add_row("mask IoU", "", f"{scores.mask_miou:.3f}")
    console = Console()
    told = f"{how['model']} on {how['backend']} ({how['precision']})"
    console.print(f"{told}: {scores.sequences} held-out streets, {scores.frames} frames")
    console.print(table)
    console.print(
        "[dim]clear: without objects of which fewer than 48 pixels, or less than a quarter, can be seen.[/]"
    )
    console.print("[dim]Accuracy in the synthetic world is not accuracy on a real camera.[/]")
