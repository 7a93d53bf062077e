"""`sightline models`: which weights there are, and compiling them ahead of the first start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamer.commands.heads import heads_of_text
from streamer.commands.models_import import import_
from streamer.commands.models_kept import inspect, rm
from streamer.commands.models_verify import verify


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The models: list, import, compile, verify.")
    group.command("ls", epilog="Example: `sightline models ls --json`")(list_)
    group.command(epilog="Example: `sightline models build street-nano --precision bf16`")(build)
    group.command("import", epilog="Example: `sightline models import detr-r50-e632da11.pth --family detr`")(
        import_
    )
    group.command(epilog="Example: `sightline models verify --all`")(verify)
    group.command(epilog="Example: `sightline models inspect street-nano --json`")(inspect)
    group.command(epilog="Example: `sightline models rm street-nano`")(rm)
    app.add_typer(group, name="models")


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
) -> None:
    """List the models that are shipped or imported, with what their cards say was measured."""
    from engines.zoo import list_models

    cards = list_models()
    if as_json:
        import orjson

        rows: list[dict[str, Any]] = [
            {
                "name": card.name,
                "task": card.task,
                "family": card.family,
                "size_bytes": card.size_bytes,
                "config": dict(card.config),
                "card": dict(card.card),
            }
            for card in cards
        ]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "task", "picture", "size", "what it was measured on"):
        table.add_column(heading, overflow="fold")
    for card in cards:
        height, width = card.config.get("height", "?"), card.config.get("width", "?")
        size = f"{card.size_bytes / 1e6:.1f} MB"
        table.add_row(card.name, card.task, f"{width}x{height}", size, _measured(card.card))
    Console().print(table)


def _measured(card: Any) -> str:
    found = card.get("measured", card.get("metrics", {}))
    numbers = (
        {k: v for k, v in found.items() if isinstance(v, int | float)} if isinstance(found, dict) else {}
    )
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items())


def build(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of `models ls`, hf://owner/name, hf://./folder, a .safetensors or an .onnx file."
        ),
    ] = "street-nano",
    backend: Annotated[
        str, typer.Option(help="openvino, onnx, torch, tensorrt or tensorrt-rtx.")
    ] = "openvino",
    precision: Annotated[str, typer.Option(help="auto, f16, bf16 or f32.")] = "auto",
    max_batch_size: Annotated[int, typer.Option(min=1, max=64, help="Streams that share a batch.")] = 8,
    heads: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD,HEAD…",
            help="What it says beside boxes and tracks, of masks, keypoints, semantic, actions; default: all that the "
            "weights have.",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The data folder whose cache is filled.", show_default=False)
    ] = None,
    ahead: Annotated[
        str | None,
        typer.Option(
            metavar="SM,SM…",
            help="With tensorrt-rtx: compile for GPUs that are not here, such as 80,86,89,120. MODEL may be an "
            ".onnx file. What is built is not verified and not served.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compile a model and compare it with its reference, so that the first start need not.

    An engine that does not answer as its reference does is refused.
    """
    if ahead is not None:
        from streamer.commands.models_ahead import build_for

        build_for(model, backend, precision, max_batch_size, heads_of_text(heads), data_dir, ahead)
        return
    from engines.zoo import open_engine
    from streamer.commands.worker import shares
    from streamer.config import default_data_dir

    here = shares()  # an engine is compiled for so many side by side: for as many as serving will ask
    engine = open_engine(
        model,
        backend=backend,
        precision=precision,
        max_batch_size=max_batch_size,
        threads=here.threads,
        streams=here.streams,
        heads=heads_of_text(heads),
        cache_dir=(data_dir or default_data_dir()) / "engines",
        on_progress=lambda line: typer.echo(line, err=True),
    )
    spec = engine.spec
    engine.close()
    typer.echo(f"{spec.name}: {spec.backend} {spec.precision} on {spec.device}, digest {spec.digest}")
