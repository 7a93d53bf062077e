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
    group.command(epilog="Example: `sightline bench gpu --out docs/results`")(gpu)
    group.command(epilog="Example: `sightline bench viewers --n 20 --json`")(viewers)
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


def gpu(
    budget: Annotated[
        float,
        typer.Option(min=30, help="Seconds for all of it; a family gets an equal part of what is left."),
    ] = 540.0,
    out: Annotated[Path, typer.Option(help="The folder that the JSON file goes to.")] = Path("docs/results"),
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where engines are cached; default: the usual data folder.", show_default=False),
    ] = None,
) -> None:
    """Every model family on this machine's GPU: parity with torch in f32, pictures a second, latency.

    Writes `gpu-DEVICE-DATE.json`. Exit code 1 on a machine without an NVIDIA GPU.
    """
    from rich.console import Console
    from rich.table import Table

    from streamer.commands.bars import LateBar
    from streamer.commands.bench_gpu import bench_gpu, lines, write_results
    from streamer.config import default_data_dir

    with LateBar("bench gpu") as bar:
        found = bench_gpu(budget, (data_dir or default_data_dir()).expanduser().absolute(), bar.show)
    path = write_results(found, out)
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "backend", "precision", "batch", "img/s", "p50 ms", "p95 ms"):
        table.add_column(heading, overflow="fold")
    for row in lines(found["rows"]):
        table.add_row(*row)
    Console().print(table)
    typer.echo(str(path))


def viewers(
    n: Annotated[int, typer.Option("--n", min=1, max=200, help="Viewers of the one camera.")] = 20,
    seconds: Annotated[float, typer.Option(min=2, help="How long each phase is measured.")] = 10.0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Look at the page in Chromium as well.")
    ] = True,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where engines are cached; default: the usual data folder.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What N viewers cost beside an encoder for each, and how late and how true the picture in a browser is.

    Needs GStreamer's RTSP server in the system's Python (it is the camera), and Chromium with playwright for the page.
    """
    import shutil

    from streamer.commands.bars import LateBar
    from streamer.commands.watching.run import bench_viewers
    from streamer.config import default_data_dir
    from streamer.errors import SightlineError

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser and chromium is None:
        raise SightlineError(
            "there is no Chromium on this machine", where="bench viewers", mend="install it, or --no-browser"
        )
    with LateBar(f"bench viewers, {n} viewers") as bar:
        found = bench_viewers(
            n,
            seconds,
            data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
            chromium=chromium if browser else None,
            show=bar.show,
        )
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
