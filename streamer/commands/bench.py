"""`sightline bench`: measure this machine, never a remembered one. Every ratio's limit is measured in the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Measure this machine.")
    group.callback()(_group)
    group.command(epilog="Example: `sightline bench pipeline --streams 4 --json`")(pipeline)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Measure this machine."""


def pipeline(
    streams: Annotated[int, typer.Option(min=1, max=64, help="Streams side by side.")] = 1,
    file: Annotated[
        Path | None,
        typer.Option(
            help="The clip each stream reads; default: a rendered street, 768x432 H.264.", show_default=False
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Live world streams instead of files: drops and latency.")
    ] = False,
    fps: Annotated[float, typer.Option(min=0.1, help="Frame rate of the live streams.")] = 12.5,
    seconds: Annotated[float, typer.Option(min=2, help="How long each phase is measured.")] = 12.0,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often all phases are measured; medians are told.")
    ] = 3,
    model: Annotated[str, typer.Option(help="The model.")] = "street-nano",
    backend: Annotated[str, typer.Option(help="What runs the engine.")] = "openvino",
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where engines are cached; default: the usual data folder.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """From decoder to Redis, with masks and tracks, against what this machine could do at most.

    The limit is cores / (CPU of decoding a frame + CPU of inferring it), each measured alone at its best setting.
    """
    from streamer.commands.bars import LateBar
    from streamer.commands.bench_pipeline import bench_live, bench_pipeline
    from streamer.commands.bench_worker import Plan
    from streamer.config import default_data_dir

    plan = Plan(
        streams=streams,
        file=file,
        seconds=seconds,
        rounds=rounds,
        model=model,
        backend=backend,
        data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
        fps=fps,
    )
    with LateBar(f"bench pipeline, {streams} streams") as bar:
        found = bench_live(plan, bar.show) if live else bench_pipeline(plan, bar.show)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _tell(found)


def _tell(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in found.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)
