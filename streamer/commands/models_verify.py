"""`sightline models verify`: every family on every backend against torch in float32, as a table that can fail."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

CPU_BACKENDS = ("openvino", "onnx")


def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names or weights files; default: the shipped ones.", show_default=False),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every family too, at full size, with weights drawn at random.")
    ] = False,
    reduced: Annotated[
        bool, typer.Option("--reduced", help="With --all: small ones, in a minute or two.")
    ] = False,
    family: Annotated[
        list[str] | None,
        typer.Option(help="With --all: of this family only; again for more.", show_default=False),
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="openvino, onnx, torch …; again for more.", show_default=False)
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, bf16, f16 or f32.")] = "f32",
    max_batch_size: Annotated[int, typer.Option(min=1, max=64, help="The largest batch compared.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of a table.")] = False,
) -> None:
    """Compile and compare anew; print, for each batch, the difference nearest to its limit.

    Exit code 1 if any is over its limit.
    """
    from engines.zoo import list_models
    from streamer.config import default_data_dir

    # What is verified is built here and thrown away: a cached engine would only show what was true when it was made.
    place = default_data_dir()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=place) as folder:
        shipped = [] if family else [m.name for m in list_models()]
        named = list(models or ()) or shipped
        rows: list[dict[str, Any]] = []
        for model, shown in _wanted(named, every, reduced, family, Path(folder)):
            for one in backend or CPU_BACKENDS:
                typer.echo(f"{shown} on {one} …", err=True)
                rows += _verified(model, shown, one, precision, max_batch_size, Path(folder))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        _print(rows)
    if not all(row["pass"] for row in rows):
        raise typer.Exit(1)


def _wanted(
    named: list[str], every: bool, reduced: bool, families: list[str] | None, folder: Path
) -> Iterator[tuple[str, str]]:
    """Pairs: what to open, and what to call it."""
    for name in named:
        yield name, name
    if every:
        from engines.build.samples import samples

        for sample in samples(folder / "samples", full=not reduced, only=families):
            yield str(sample), sample.stem


def _verified(
    model: str, shown: str, backend: str, precision: str, max_batch_size: int, folder: Path
) -> list[dict[str, Any]]:
    from engines.backends.torch import load_module
    from engines.build import ensure_built, load
    from engines.build.judging import compared, gate_of
    from engines.zoo import recipe_for
    from streamer.errors import EngineError, ParityError

    head = {"model": shown, "backend": backend}
    try:
        recipe = recipe_for(model, backend=backend, precision=precision, max_batch_size=max_batch_size)
        head |= {"family": recipe.family.name, "precision": recipe.precision}
        artefact = ensure_built(recipe, folder / "engines")
        engine = load(artefact)
    except (ParityError, EngineError) as error:
        return [
            head
            | {"batch": 0, "inputs": "", "measure": str(error), "error": None, "limit": None, "pass": False}
        ]
    rows = []
    limits = gate_of(recipe.family).LIMITS[recipe.precision]
    for one in compared(recipe, load_module(recipe.family.loader, recipe.weights), engine):
        measure, value, limit = one.worst(limits)
        rows.append(
            head
            | {
                "batch": one.batch,
                "inputs": one.kind,
                "measure": measure,
                "error": float(f"{value:.3g}"),
                "limit": limit,
                "pass": not one.over(limits),
            }
        )
    engine.close()
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in (
        "family",
        "model",
        "backend",
        "precision",
        "batch",
        "inputs",
        "nearest to its limit",
        "error",
        "limit",
    ):
        table.add_column(heading, overflow="fold")
    table.add_column("")
    for row in rows:
        error = "" if row["error"] is None else f"{row['error']:.2g}"
        limit = "" if row["limit"] is None else f"{row['limit']:.2g}"
        told = (
            row.get("family", ""),
            row["model"],
            row["backend"],
            row.get("precision", ""),
            str(row["batch"] or ""),
        )
        table.add_row(*told, row["inputs"], row["measure"], error, limit, "pass" if row["pass"] else "FAIL")
    Console(width=160).print(table)
