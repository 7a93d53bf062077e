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
    group.command(epilog="Example: `sightline bench wall --cameras 9 --fps 12.5 --minutes 10 --json`")(wall)
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
    from streamer.commands.bars import LateBar
    from streamer.commands.watching.run import bench_viewers
    from streamer.config import default_data_dir

    chromium = _chromium("bench viewers", "install it, or --no-browser") if browser else None
    with LateBar(f"bench viewers, {n} viewers") as bar:
        found = bench_viewers(
            n,
            seconds,
            data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
            chromium=chromium,
            show=bar.show,
        )
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _tell(found)


def wall(
    cameras: Annotated[int, typer.Option(min=1, max=9, help="Cameras on the page, one tile each.")] = 9,
    fps: Annotated[float, typer.Option(min=1, max=60, help="Pictures a second of each camera.")] = 12.5,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long it is measured, after warming up.")
    ] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds until measuring begins.")] = 60.0,
    analysed_fps: Annotated[
        float,
        typer.Option(min=0.1, help="Pictures a second of each camera that are analysed; all are shown."),
    ] = 1.0,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where engines are cached; default: the usual data folder.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Watch a wall of cameras in a browser: do all tiles keep moving, and does any process grow?

    A server, loopback RTSP cameras and Chromium, their memory sampled every 5 s. Needs what `bench viewers` needs.
    """
    from streamer.commands.bars import LateBar
    from streamer.commands.watching.wall import Wish, bench_wall
    from streamer.config import default_data_dir

    wish = Wish(
        cameras=cameras,
        fps=fps,
        seconds=60 * minutes,
        warm_up_s=warm_up,
        analysed_fps=analysed_fps,
        data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
        chromium=_chromium("bench wall", "install it"),
    )
    with LateBar(f"bench wall, {cameras} cameras") as bar:
        found = bench_wall(wish, bar.show)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _tell_wall(found)


def _chromium(where: str, mend: str) -> str:
    """Where Chromium is. Raises SightlineError if it is not."""
    import shutil

    from streamer.errors import SightlineError

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SightlineError("there is no Chromium on this machine", where=where, mend=mend)
    return found


def _tell_wall(found: dict[str, Any]) -> None:
    """One line a process, one a tile, then the rest."""
    from rich.console import Console
    from rich.table import Table

    verdicts = {True: "grows", False: "steady", None: "too short"}
    memory = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in ("MiB", "start", "end", "a minute", "95 %", "noise", ""):
        memory.add_column(heading, justify="left" if heading in ("MiB", "") else "right", no_wrap=True)
    for name, each in found["memory"].items():
        spread = f"{each['slope_low']:+.2f}…{each['slope_high']:+.2f}"
        sizes = [f"{each[key]:.1f}" for key in ("start_mib", "end_mib")]
        slope, noise = f"{each['slope_mib_per_min']:+.2f}", f"{each['noise_mib']:.2f}"
        memory.add_row(name, *sizes, slope, spread, noise, verdicts[each["grows"]])
    tiles = Table(box=None, pad_edge=False)
    for heading in ("tile", "fps", "worst 5 s", "heard", "dropped", "results", "age ms", "age max"):
        tiles.add_column(heading, justify="left" if heading == "tile" else "right", no_wrap=True)
    for name, each in found["tiles"].items():
        rates = [f"{each['fps_median']:.1f}", f"{each['fps_min']:.1f}"]
        counts = [str(each[key]) for key in ("heard", "dropped", "results")]
        tiles.add_row(name, *rates, *counts, f"{each['age_p50_ms']:.0f}", f"{each['age_max_ms']:.0f}")
    console = Console()
    console.print(memory, "", tiles, "", sep="\n")
    _tell({name: value for name, value in found.items() if name not in ("memory", "tiles")})


def _tell(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in found.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)
