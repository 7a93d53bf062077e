"""Building: what the digest covers, one builder at a time, nothing kept that is wrong, nothing built twice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from engines.backends.registry import Artefact, Lanes
from engines.build import Family, Recipe, cache, ensure_built
from engines.build.recipe import header, sources_of
from engines.models.street_family import Street, StreetConfig, save_street
from engines.zoo import FAMILIES, find_weights, list_models, open_engine, recipe_for, task_for
from streamer.errors import EngineError, ParityError
from streamer.ports import EngineSpec, TensorSpec

SMALL = StreetConfig(
    height=48,
    width=64,
    widths=(8, 16, 16, 32),
    hidden_dim=32,
    heads=4,
    layers=1,
    feed_dim=64,
    fine_dim=16,
    mask_channels=8,
    object_queries=12,
    track_slots=6,
)
DEADLINE_S = 60.0


def write_weights(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_street(Street(SMALL), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def built(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], EngineSpec]:
    """One real build on the default backend: its cache, what was said, and what came out."""
    folder, said = tmp_path_factory.mktemp("cache"), list[str]()
    engine = open_engine(str(weights), max_batch_size=3, threads=2, cache_dir=folder, on_progress=said.append)
    spec = engine.spec
    engine.close()
    return folder, said, spec


def odd(weights: Path, loader: str, **changes: object) -> Recipe:
    """A recipe whose loader is one of tests/model/odd_loaders.py."""
    family = Family(
        "odd", "sightline.street/1", f"odd_loaders:{loader}", "track", gate="engines.build.parity"
    )
    recipe = Recipe(weights.stem, weights, family, "onnx", "f32", 1, Lanes(1, 1))
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


@pytest.fixture
def odd_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_a_cold_start_builds_and_says_each_step(built: tuple[Path, list[str], EngineSpec]) -> None:
    folder, said, spec = built
    assert "building it" in said[0]
    assert any("comparing with the reference" in line for line in said)
    assert (spec.input_hw, spec.max_batch_size, spec.meta["labels"]) == ((48, 64), 3, list(SMALL.labels))
    assert {t.name for t in spec.inputs} == {"images", "track_hs", "track_boxes", "track_valid"}
    [engine] = (p for p in folder.iterdir() if p.is_dir())
    report = json.loads((engine / cache.PARITY_FILE).read_text())
    assert {(b["batch"], b["kind"]) for b in report["batches"]} == {
        (1, "noise"), (1, "streets"), (3, "noise"), (3, "streets")
    }  # fmt: skip


def test_a_second_start_builds_nothing_says_so_and_imports_no_torch(
    built: tuple[Path, list[str], EngineSpec], weights: Path
) -> None:
    folder, _, spec = built
    script = f"""
import json, sys
from pathlib import Path
import numpy as np
from engines.zoo import open_engine, task_for
said = []
engine = open_engine({str(weights)!r}, max_batch_size=3, threads=2, cache_dir=Path({str(folder)!r}),
                     on_progress=said.append)
task_for(engine.spec)
shapes = {{t.name: ((2, *t.shape[1:]), t.dtype) for t in engine.spec.inputs}}
answer = engine.infer({{name: np.zeros(*kind) for name, kind in shapes.items()}})
found = sorted(m for m in sys.modules if m.partition('.')[0] in ('torch', 'onnx', 'onnxscript', 'scipy'))
print(json.dumps([said, found, engine.spec.digest, answer['pred_logits'].shape]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    said, found, digest, shape = json.loads(done.stdout)
    assert len(said) == 1 and "nothing to build" in said[0]
    assert found == []
    assert digest == spec.digest
    assert shape == [2, 18, 5]


def test_the_digest_changes_with_all_that_matters_and_with_nothing_else(
    weights: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(str(weights), backend="onnx", threads=2)
    assert recipe.digest() == recipe_for(str(weights), backend="onnx", threads=2).digest()
    copy = tmp_path / "small.safetensors"
    copy.write_bytes(weights.read_bytes())
    moved = dataclasses.replace(recipe, weights=copy)
    assert moved.digest() == recipe.digest()  # where the file lies does not matter
    others = [
        dataclasses.replace(recipe, weights=write_weights(tmp_path / "other.safetensors", seed=1)),
        dataclasses.replace(recipe, backend="openvino"),
        dataclasses.replace(recipe, precision="bf16"),
        dataclasses.replace(recipe, max_batch_size=4),
        dataclasses.replace(recipe, lanes=Lanes(2, 2)),
        dataclasses.replace(recipe, family=dataclasses.replace(recipe.family, task="other")),
    ]
    digests = {r.digest() for r in others} | {recipe.digest()}
    copy.with_suffix(".json").write_text('{"track": {"birth": 0.6}}')
    assert len(digests | {moved.digest()}) == len(others) + 2


def test_a_recipe_survives_the_way_to_the_child(weights: Path) -> None:
    recipe = recipe_for(str(weights), backend="onnx", threads=2, streams=2)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_sources_are_those_of_the_models_package() -> None:
    names = [name for name, _ in sources_of("engines.models.street")]
    assert {"engines.models.street", "engines.models.attention", "engines.models.backbone"} <= set(names)
    assert all(name.startswith("engines.models.") for name in names)


@pytest.mark.usefixtures("odd_loaders")
def test_a_miscompiled_engine_is_refused_with_its_numbers_and_not_kept(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"at batch 1 on noise: .*queries \S+ over 0\.001") as caught:
        ensure_built(odd(weights, "miscompiled"), tmp_path)
    assert "\n" not in str(caught.value)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.usefixtures("odd_loaders")
def test_a_crash_of_the_builder_costs_one_line(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"crashed \(SIGSEGV\) while loading the weights") as caught:
        ensure_built(odd(weights, "crash"), tmp_path)
    assert "\n" not in str(caught.value)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.usefixtures("odd_loaders")
def test_the_builder_does_not_outlive_who_asked(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "small.safetensors")
    script = f"""
from pathlib import Path
from engines.build import Recipe, ensure_built
ensure_built(Recipe.from_json({odd(weights, "hang").to_json()!r}), Path({str(tmp_path / "cache")!r}))
"""
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path.cwd()}"}
    asking = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        pid_file = tmp_path / "builder.pid"
        until(lambda: pid_file.exists() and bool(pid_file.read_text()))
        builder = psutil.Process(int(pid_file.read_text()))
    finally:
        asking.kill()
        asking.wait()
    until(lambda: not builder.is_running() or builder.status() == psutil.STATUS_ZOMBIE)


def until(true: Callable[[], bool]) -> None:
    """Poll until `true`, within the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "not in time"
        threading.Event().wait(0.02)


def fake_child(
    builds: list[str], started: threading.Event | None = None, go_on: threading.Event | None = None
) -> Callable[..., None]:
    """In the child's place: writes an engine of one file at once, or when told to."""

    def run(recipe: Recipe, digest: str, part: Path, say: Callable[[str], None], *_: object) -> None:
        builds.append(digest)
        if started and go_on:
            started.set()
            assert go_on.wait(DEADLINE_S)
        (part / "model.onnx").write_bytes(b"graph")
        images = TensorSpec("images", (-1, 48, 64, 3), np.dtype(np.uint8))
        cache.write_engine_file(part, EngineSpec("s", "onnx", "f32", "cpu", digest, (images,), (), 1, {}))

    return run


@pytest.fixture
def recipe(weights: Path) -> Recipe:
    return recipe_for(str(weights), backend="onnx", threads=1, max_batch_size=1)


def test_whoever_asks_meanwhile_waits_for_the_one_build(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds, started, go_on = list[str](), threading.Event(), threading.Event()
    monkeypatch.setattr(cache, "_run_child", fake_child(builds, started, go_on))
    said, waiting, found = list[str](), threading.Event(), list[Artefact]()

    def ask() -> None:
        def hear(line: str) -> None:
            said.append(line)
            if "another process" in line:
                waiting.set()

        found.append(ensure_built(recipe, tmp_path, hear))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads[0].start()
    assert started.wait(DEADLINE_S)
    for thread in threads[1:]:
        thread.start()
    assert waiting.wait(DEADLINE_S)
    go_on.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(builds) == 1 and len(found) == 3
    assert sum("nothing to build" in line for line in said) == 2


@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign", "no json"])
def test_a_damaged_engine_is_built_again(
    damage: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = list[str]()
    monkeypatch.setattr(cache, "_run_child", fake_child(builds))
    folder = ensure_built(recipe, tmp_path).folder
    match damage:
        case "truncated":
            (folder / "model.onnx").write_bytes(b"gra")
        case "missing":
            (folder / "model.onnx").unlink()
        case "foreign":
            record = json.loads((folder / cache.ENGINE_FILE).read_text())
            record["spec"]["digest"] = "0" * 64
            (folder / cache.ENGINE_FILE).write_text(json.dumps(record))
        case "no json":
            (folder / cache.ENGINE_FILE).write_text("{")
    ensure_built(recipe, tmp_path)
    ensure_built(recipe, tmp_path)
    assert len(builds) == 2
    assert (folder / "model.onnx").read_bytes() == b"graph"


def test_a_build_that_fails_leaves_nothing_and_the_next_one_clears_what_a_dead_one_left(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("no luck")

    left = tmp_path / f".{recipe.digest()[:16]}.build-dead"
    left.mkdir()
    monkeypatch.setattr(cache, "_run_child", fail)
    with pytest.raises(EngineError, match="no luck"):
        ensure_built(recipe, tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_old_engines_of_a_name_make_room(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_run_child", fake_child([]))
    monkeypatch.setattr(cache, "KEEP", 2)
    folders = [
        ensure_built(dataclasses.replace(recipe, max_batch_size=n), tmp_path).folder for n in (1, 2, 3)
    ]
    assert sum(f.exists() for f in folders) == 2 and folders[-1].exists()


def test_a_cache_that_cannot_be_written_gets_one_line(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"cache cannot be used.*--data-dir"):
        ensure_built(recipe, tmp_path / "file" / "engines")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("street-giga", "'street-giga' is unknown"),
        ("/nowhere/x.safetensors", "does not exist"),
    ],
)
def test_unknown_models_get_one_line(model: str, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        open_engine(model, backend="onnx")
    assert "\n" not in str(caught.value)
    with contextlib.suppress(EngineError):
        for card in list_models():  # what is shipped is named in the line
            assert card.name in str(caught.value) or model.startswith("/")


@pytest.mark.parametrize(
    ("content", "says"), [(b"plain text, no tensors", "no safetensors"), (b"", "no safetensors")]
)
def test_files_that_are_no_weights_get_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=says):
        recipe_for(str(path), backend="onnx")


def test_weights_of_a_foreign_family_are_refused_by_name(tmp_path: Path) -> None:
    path, head = tmp_path / "x.safetensors", b'{"__metadata__":{"format":"pt"}}'
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    assert header(path) == {"format": "pt"}
    with pytest.raises(EngineError, match=r"format 'pt'.*sightline.street/1"):
        recipe_for(str(path), backend="onnx")


def test_every_shipped_model_has_a_family_and_can_be_found_by_name() -> None:
    for card in list_models():
        assert card.family in {f.name for f in FAMILIES}
        assert find_weights(card.name) == card.weights
        assert card.size_bytes < 12_000_000


def test_an_engine_without_a_known_task_gets_one_line(built: tuple[Path, list[str], EngineSpec]) -> None:
    _, _, spec = built
    assert task_for(spec).input_hw == (48, 64)
    with pytest.raises(EngineError, match="task 'guess' is unknown"):
        task_for(dataclasses.replace(spec, meta={**spec.meta, "task": "guess"}))
