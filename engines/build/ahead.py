"""Building for GPUs that are not here: does TensorRT take and compile these graphs, and how long and how large?

TensorRT for RTX compiles on a machine without a GPU. What comes out cannot be run there, so it cannot be compared with
its reference: it is *built, not verified on a device*. It lies in a folder of its own beside the engines, without the
file that marks an engine; nothing opens it for serving. On a machine with a GPU the engine is built again, which takes
seconds, and passes the gate like any other.

    python -m engines.build.ahead FOLDER WISH_JSON      is the child that compiles
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engines.backends.tensorrt import plan_file
from engines.backends.trt_build import Wish, build_plan
from engines.backends.trt_flavour import RTX
from engines.build.child import Say, run_child, speak
from engines.build.recipe import Recipe
from streamer.errors import EngineError

UNVERIFIED = "built, not verified on a device"
AHEAD_FILE, LOG_FILE, FOLDER = "ahead.json", "build.log", "ahead"
TARGETS = (80, 86, 89, 120)  # Ampere in data centres and desktops, Ada, Blackwell
DEADLINE_S = 900.0


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """One compiled graph: seconds that the compiler took, bytes of what went in and came out."""

    name: str
    nodes: int
    graph_bytes: int
    plan_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AheadReport:
    """What was built, for which architectures (80 is compute capability 8.0), by which version; `folder` holds it."""

    name: str
    precision: str
    sms: tuple[int, ...]
    version: str
    max_batch_size: int
    graphs: tuple[BuiltGraph, ...]
    folder: Path
    state: str = UNVERIFIED


def build_ahead(
    what: Recipe | Path,
    sms: Sequence[int],
    cache_dir: Path,
    *,
    max_batch_size: int = 8,
    on_progress: Callable[[str], None] | None = None,
) -> AheadReport:
    """Compile a recipe's graphs, or an ONNX file, for `sms` in one child process; no GPU is needed.

    `max_batch_size` is for a file; a recipe has its own. Raises EngineError, one line, for a graph that is refused, a
    compiler that crashes, or a package that is not installed.
    """
    say = on_progress or (lambda line: None)
    if not sms:
        raise EngineError("no architecture to build for", mend="name some, such as 80,86,89,120")
    recipe = what if isinstance(what, Recipe) else None
    name = recipe.name if recipe else Path(str(what)).stem
    precision = recipe.precision if recipe else "graph"
    if recipe is not None and recipe.backend != RTX.backend:
        raise EngineError(
            f"backend {recipe.backend} does not build ahead of time", mend=f"use backend {RTX.backend}"
        )
    if recipe is None and not Path(str(what)).is_file():
        raise EngineError("the ONNX file does not exist", where=str(what))
    final = cache_dir / FOLDER / f"{name}-{precision}"
    wish = {
        "recipe": recipe.to_json() if recipe else None,
        "graph": None if recipe else str(Path(str(what)).absolute()),
        "sms": list(sms),
        "max_batch_size": recipe.max_batch_size if recipe else max_batch_size,
    }
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".build-", dir=final.parent))
    except OSError as error:
        raise EngineError(
            f"the engine cache cannot be used: {error.strerror}", where=str(error.filename or cache_dir)
        ) from None
    try:
        run_child(
            "engines.build.ahead",
            [str(part), json.dumps(wish)],
            part / LOG_FILE,
            f"building {name} ahead of time",
            DEADLINE_S,
            lambda stage: say(f"ahead {name}: {stage}"),
        )
        record = json.loads((part / AHEAD_FILE).read_text())
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return AheadReport(
        name=name,
        precision=precision,
        sms=tuple(record["sms"]),
        version=record["version"],
        max_batch_size=record["max_batch_size"],
        graphs=tuple(BuiltGraph(**graph) for graph in record["graphs"]),
        folder=final,
    )


def compile_all(wish: dict[str, Any], folder: Path, say: Say) -> None:
    """In the child: export what is a recipe, compile each graph, and leave the record."""
    trt = RTX.library()  # before anything that takes long
    recipe = Recipe.from_json(wish["recipe"]) if wish["recipe"] else None
    exact = recipe is None or recipe.precision == "f32"
    built = []
    how = Wish(wish["max_batch_size"], tuple(wish["sms"]), exact=exact)
    for name, path, largest in _graphs(recipe, wish["graph"], folder, say):
        how = replace(how, max_batch_size=min(how.max_batch_size, largest or how.max_batch_size))
        compiling = f"compiling {name} for SM {', '.join(map(str, how.sms))}"
        say(compiling)
        started = time.monotonic()
        plan = build_plan(RTX, path, how, lambda line, what=compiling: say(f"{what}: {line}"))  # type: ignore[misc]
        seconds = round(time.monotonic() - started, 2)
        plan_file(path.parent).write_bytes(plan)
        built.append(BuiltGraph(name, _nodes(path), path.stat().st_size, len(plan), seconds))
    record = {
        "state": UNVERIFIED,
        "sms": list(how.sms),
        "version": f"{RTX.backend} {trt.__version__}",
        "max_batch_size": how.max_batch_size,
        "graphs": [asdict(graph) for graph in built],
    }
    (folder / AHEAD_FILE).write_text(json.dumps(record, indent=1))


def _graphs(
    recipe: Recipe | None, graph: str | None, folder: Path, say: Say
) -> Iterator[tuple[str, Path, int]]:
    """Name, file, and the largest batch that the graph holds (0: any)."""
    if recipe is None:
        from engines.build.strong_types import prepare_types

        source, target = Path(str(graph)), folder / "model.onnx"
        try:
            prepare_types(source, target)
        except Exception as error:  # protobuf's and onnx's own classes
            raise EngineError(
                f"this is no ONNX model: {(str(error).splitlines() or [''])[0]}", where=str(source)
            ) from None
        yield source.stem, target, 0
        return
    from engines.backends.torch import load_module
    from engines.build import graphs

    say("loading the weights")
    module = load_module(recipe.family.loader, recipe.weights)
    for one in graphs.exported(recipe, module, folder, say):
        yield one.name, one.path, getattr(module, "max_batch_size", 0)


def _nodes(path: Path) -> int:
    import onnx

    return len(onnx.load(str(path), load_external_data=False).graph.node)


def main(arguments: list[str]) -> int:
    folder, wish = arguments
    return speak(lambda say: compile_all(json.loads(wish), Path(folder), say))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
