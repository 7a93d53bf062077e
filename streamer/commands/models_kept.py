"""`sightline models inspect` and `rm`: what a model and its built engines are, and letting go of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from streamer.errors import ConfigError

DataDir = Annotated[Path | None, typer.Option(help="The data folder to look in.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Kept:
    """One engine in the cache: its folder, what engine.json says of it, its bytes on disk."""

    folder: Path
    spec: dict[str, Any]
    size_bytes: int

    @property
    def parity(self) -> dict[str, Any]:
        path = self.folder / "parity.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}


def kept_engines(cache_dir: Path) -> Iterator[Kept]:
    """All whole engines of a cache folder, by name."""
    for file in sorted(cache_dir.glob("*/engine.json")):
        try:
            spec = json.loads(file.read_text())["spec"]
        except (OSError, ValueError, KeyError):
            continue  # damaged: the next start builds it anew
        size = sum(p.stat().st_size for p in file.parent.rglob("*") if p.is_file())
        yield Kept(file.parent, spec, size)


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of `models ls`, hf://…, a .safetensors or an .onnx file.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show a model's tensors, settings and card, and each engine that was built of it with its parity."""
    from engines.zoo import describe

    said = describe(model)
    engines = [k for k in kept_engines(_cache(data_dir)) if k.spec["name"] == said["name"]]
    said["engines"] = [
        {
            **{n: k.spec[n] for n in ("backend", "precision", "device", "digest", "max_batch_size")},
            "inputs": k.spec["inputs"],
            "outputs": k.spec["outputs"],
            "size_bytes": k.size_bytes,
            "parity": k.parity,
        }
        for k in engines
    ]
    if as_json:
        typer.echo(json.dumps(said, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name in ("name", "family", "task", "weights", "size_bytes", "heads", "config", "card"):
        table.add_row(name, str(said[name]))
    for engine in said["engines"]:
        shapes = "; ".join(
            f"{t['name']} {t['dtype']}{t['shape']}" for t in (*engine["inputs"], *engine["outputs"])
        )
        head = f"{engine['backend']} {engine['precision']}"
        table.add_row(f"engine {head}", f"{engine['digest'][:16]} on {engine['device']}: {shapes}")
    Console().print(table)


def rm(
    model: Annotated[str, typer.Argument(help="A name of `models ls`.", show_default=False)],
    weights: Annotated[bool, typer.Option("--weights", help="An imported model's file, too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let go of a model's built engines; they are built again when a stream asks. Shipped weights stay."""
    from streamer.config import default_data_dir

    gone = 0
    for kept in kept_engines(_cache(data_dir)):
        if kept.spec["name"] == model:
            shutil.rmtree(kept.folder)
            typer.echo(f"removed {kept.folder.name} ({kept.size_bytes / 1e6:.1f} MB)")
            gone += 1
    if weights:
        folder = (data_dir or default_data_dir()) / "models"
        for path in (folder / f"{model}.safetensors", folder / f"{model}.json"):
            if path.is_file():
                path.unlink()
                typer.echo(f"removed {path}")
                gone += 1
    if not gone:
        raise ConfigError(
            f"nothing is kept of a model {model!r}",
            where=str(_cache(data_dir)),
            mend="see `sightline models ls`",
        )


def _cache(data_dir: Path | None) -> Path:
    from streamer.config import default_data_dir

    return (data_dir or default_data_dir()) / "engines"
