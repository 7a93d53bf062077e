"""Find a built engine, or have it built: once, by one child process, whoever else is asking at the same time.

A folder appears under its final name by one rename, complete and gated, or not at all. The build runs in a child, so
that a parser that crashes costs one clear line, and the asking process never imports torch. The child watches its
standard input and ends when the asking process does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends import registry
from engines.backends.registry import Artefact
from engines.backends.staged import Staged
from engines.build.child import run_child
from engines.build.recipe import Recipe
from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec, TensorSpec

Progress = Callable[[str], None]

ENGINE_FILE, PARITY_FILE, LOG_FILE = "engine.json", "parity.json", "build.log"
BUILD_DEADLINE_S = 900.0
LOOK, FOLLOW = "look", "follow"  # folders of the two stages
KEEP = 12  # engines; older ones of the same name, by last use, make room


def ensure_built(
    recipe: Recipe,
    cache_dir: Path,
    on_progress: Progress | None = None,
    *,
    deadline_s: float = BUILD_DEADLINE_S,
    hurry: threading.Event | None = None,
) -> Artefact:
    """The engine of this recipe, from the cache or built now; `on_progress` gets one line a step.

    A build that is not over after `deadline_s` is ended. With `hurry` it is a quiet one, which takes what time others
    leave; that is ended when `hurry` is set, and raises EngineError.

    Raises ParityError if the engine does not answer as its reference does, EngineError if it cannot be built.
    """
    say = on_progress or (lambda line: None)
    digest = recipe.digest()
    what = f"{recipe.name} ({recipe.backend} {recipe.precision})"
    folder = cache_dir / f"{recipe.name}-{recipe.backend}-{recipe.precision}-{digest[:16]}"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        if found := _open(folder, recipe, digest):
            say(f"engine {what}: from the cache, nothing to build")
            return found
        with _locked(
            cache_dir / f".{digest[:16]}.lock", lambda: say(f"engine {what}: another process builds it")
        ):
            if found := _open(folder, recipe, digest):  # another process built it while we waited
                say(f"engine {what}: from the cache, nothing to build")
                return found
            say(f"engine {what}: building it, once for this machine")
            _build(recipe, digest, folder, say, deadline_s, hurry)
            _prune(cache_dir, f"{recipe.name}-{recipe.backend}-{recipe.precision}-")
    except OSError as error:
        raise EngineError(
            f"the engine cache cannot be used: {error.strerror}",
            where=str(error.filename or cache_dir),
            mend="choose a data folder with --data-dir that can be written and has room",
        ) from None
    built = _open(folder, recipe, digest)
    if built is None:
        raise EngineError("the engine was built but cannot be read back", where=str(folder))
    return built


def load(artefact: Artefact) -> Engine:
    """Open a built engine, ready to infer; of one that was cut in two, both stages as one. Raises EngineError."""
    backend = registry.backend(artefact.spec.backend)
    if not (artefact.folder / LOOK).is_dir():
        return backend.load(artefact)
    look, follow = (backend.load(_stage(artefact, part)) for part in (LOOK, FOLLOW))
    return Staged(artefact.spec.name, artefact.spec.digest, look, follow)


def _stage(artefact: Artefact, part: str) -> Artefact:
    folder = artefact.folder / part
    try:
        spec = spec_from_json(json.loads((folder / ENGINE_FILE).read_text())["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        raise EngineError(
            "a stage of the engine cannot be read",
            where=str(folder),
            mend="delete the engine's folder; it is built again at the next start",
        ) from None
    return dataclasses.replace(artefact, folder=folder, spec=spec)


def write_engine_file(folder: Path, spec: EngineSpec) -> None:
    """The last step of a build: what the engine is, and how long each of its files must be."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    sizes = {name: p.stat().st_size for name, p in files.items() if name not in (ENGINE_FILE, LOG_FILE)}
    text = json.dumps({"spec": spec_to_json(spec), "files": sizes}, indent=1)
    (folder / ENGINE_FILE).write_text(text)


def spec_to_json(spec: EngineSpec) -> dict[str, Any]:
    tensors = {
        side: [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype.name} for t in getattr(spec, side)]
        for side in ("inputs", "outputs")
    }
    plain = ("name", "backend", "precision", "device", "digest", "max_batch_size")
    return {**{k: getattr(spec, k) for k in plain}, **tensors, "meta": dict(spec.meta)}


def spec_from_json(fields: dict[str, Any]) -> EngineSpec:
    sides = {
        side: tuple(TensorSpec(t["name"], tuple(t["shape"]), np.dtype(t["dtype"])) for t in fields[side])
        for side in ("inputs", "outputs")
    }
    return EngineSpec(**{**fields, **sides})


def _open(folder: Path, recipe: Recipe, digest: str) -> Artefact | None:
    """The engine in this folder, or None if there is none or it is damaged. Marks it as used now."""
    try:
        record = json.loads((folder / ENGINE_FILE).read_text())
        spec = spec_from_json(record["spec"])
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
        if not whole or spec.digest != digest:
            return None
        os.utime(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Artefact(folder, spec, recipe.weights, recipe.family.loader, recipe.lanes)


def _build(
    recipe: Recipe,
    digest: str,
    folder: Path,
    say: Progress,
    deadline_s: float,
    hurry: threading.Event | None,
) -> None:
    """Run the child in a folder beside the final one; called under the recipe's lock."""
    for stale in folder.parent.glob(f".{digest[:16]}.build-*"):  # of a builder that died
        shutil.rmtree(stale, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{digest[:16]}.build-", dir=folder.parent))
    try:
        _run_child(recipe, digest, part, say, deadline_s, hurry)
        if folder.exists():  # damaged, or `_open` had taken it
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run_child(
    recipe: Recipe, digest: str, part: Path, say: Progress, deadline_s: float, hurry: threading.Event | None
) -> None:
    run_child(
        "engines.build.worker",
        [str(part), digest, recipe.to_json()],
        part / LOG_FILE,
        f"building {recipe.name}",
        deadline_s,
        lambda stage: say(f"engine {recipe.name}: {stage}"),
        hurry=hurry,
    )


def _prune(cache_dir: Path, prefix: str) -> None:
    """Forget the engines of this name that were not used for longest; their files may be open, which does no harm."""
    used = sorted(
        (p for p in cache_dir.glob(f"{prefix}*") if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for folder in used[KEEP:]:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the file's lock, across threads and processes; the kernel lets go of it when a holder dies."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
