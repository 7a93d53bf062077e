"""Every backend keeps the same law: names in, fresh arrays out, as the reference answers, whoever else is calling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.backends import registry
from engines.backends import torch as reference_backend
from engines.backends.openvino import parts, properties, sizes_for
from engines.backends.registry import Artefact, Lanes
from engines.build import export, inputs, parity
from engines.models.street_family import INPUT_NAMES, OUTPUT_NAMES, Street, StreetConfig, save_street
from engines.zoo import FAMILIES
from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec

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
STREET = FAMILIES[0]
CASES = [("openvino", "f32"), ("openvino", "auto"), ("onnx", "f32"), ("torch", "f32")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_street(Street(SMALL), path)
    return path


@pytest.fixture(scope="module")
def module(weights: Path) -> torch.nn.Module:
    return reference_backend.load_module(STREET.loader, weights)


@pytest.fixture(scope="module")
def graph(
    module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[Any, ...], tuple[Any, ...]]:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    takes, gives, _ = export.export(module, INPUT_NAMES, OUTPUT_NAMES, export.examples(module, STREET), path)
    return path, takes, gives


@pytest.fixture(scope="module")
def artefact_of(
    weights: Path, graph: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Artefact]:
    made: dict[tuple[str, str], Artefact] = {}
    path, tensors_in, tensors_out = graph

    def make(name: str, asked: str) -> Artefact:
        precision = registry.resolve_precision(name, asked)
        if (name, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{precision}")
            (folder / "model.onnx").write_bytes(path.read_bytes())
            spec = EngineSpec("small", name, precision, "cpu", "0", tensors_in, tensors_out, 8, {})
            artefact = Artefact(folder, spec, weights, STREET.loader, Lanes(threads=2, streams=2))
            registry.backend(name).prepare(artefact)
            made[name, precision] = artefact
        return made[name, precision]

    return make


@pytest.fixture(params=CASES, ids="-".join)
def engine(request: pytest.FixtureRequest, artefact_of: Callable[[str, str], Artefact]) -> Iterator[Engine]:
    artefact = artefact_of(*request.param)
    opened = registry.backend(artefact.spec.backend).load(artefact)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def example(module: torch.nn.Module) -> Callable[[int], dict[str, NDArray[Any]]]:
    return lambda batch: inputs.noise(module, STREET, batch, seed=batch)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_it_answers_as_the_reference(
    engine: Engine, module: torch.nn.Module, example: Callable[[int], Any], batch: int
) -> None:
    case = example(batch)
    reference = reference_backend.TorchEngine(engine.spec, module).infer(case)
    answer = engine.infer(case)
    assert {n: (a.shape, a.dtype) for n, a in answer.items()} == {
        t.name: ((batch, *t.shape[1:]), t.dtype) for t in engine.spec.outputs
    }
    precision = engine.spec.precision
    parity.gate([parity.compare(reference, answer, case, "noise", precision)], precision, "test")


def test_pictures_of_a_batch_do_not_meet_and_their_order_does_not_matter(
    artefact_of: Callable[[str, str], Artefact], example: Callable[[int], Any]
) -> None:
    for name in ("openvino", "onnx", "torch"):
        engine = registry.backend(name).load(artefact_of(name, "f32"))
        case, order = example(5), [3, 0, 4, 2, 1]
        together = engine.infer({k: v[order] for k, v in case.items()})
        for place, i in enumerate(order):
            alone = engine.infer({k: v[i : i + 1] for k, v in case.items()})
            for key in alone:
                np.testing.assert_allclose(
                    together[key][place], alone[key][0], atol=2e-4, err_msg=f"{name} {key}"
                )


def test_what_lies_in_an_empty_slot_changes_nothing(
    engine: Engine, example: Callable[[int], dict[str, NDArray[Any]]]
) -> None:
    case = example(2)
    empty = case["track_valid"] < 0.5
    assert empty.any(axis=1).all()
    filled = {k: v.copy() for k, v in case.items()}
    filled["track_hs"][empty] = 50.0
    filled["track_boxes"][empty] = 0.9
    one, two = engine.infer(case), engine.infer(filled)
    rows = np.concatenate([~empty, np.ones((2, SMALL.object_queries), bool)], axis=1)
    for key in ("pred_logits", "pred_boxes", "mask_embed", "next_hs"):
        np.testing.assert_allclose(one[key][rows], two[key][rows], atol=1e-5)


def test_threads_share_an_engine_and_own_their_answers(engine: Engine, example: Callable[[int], Any]) -> None:
    cases = [example(batch) for batch in (1, 3, 2)]
    alone = [engine.infer(case) for case in cases]
    kept = [{k: v.copy() for k, v in answer.items()} for answer in alone]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            together = list(pool.map(engine.infer, cases * 2))
            for expected, got in zip(kept * 2, together, strict=True):
                for key in expected:
                    np.testing.assert_allclose(got[key], expected[key], atol=0.05, rtol=0.05)
    for mine, copy in zip(alone, kept, strict=True):  # later runs wrote into no earlier answer
        for key in copy:
            np.testing.assert_array_equal(mine[key], copy[key])
            assert mine[key].flags.writeable


def test_read_only_and_strided_inputs_are_taken(engine: Engine, example: Callable[[int], Any]) -> None:
    case = example(2)
    expected = engine.infer(case)
    frozen = {k: v.view() for k, v in case.items()}
    for array in frozen.values():
        array.setflags(write=False)
    strided = {k: np.repeat(v, 2, axis=0)[::2] for k, v in case.items()}
    for other in (frozen, strided):
        answer = engine.infer(other)
        for key in expected:
            np.testing.assert_array_equal(answer[key], expected[key])


def test_wrong_inputs_get_one_line(engine: Engine, example: Callable[[int], Any]) -> None:
    case = example(2)
    wrong = {
        "'track_hs' is missing": {k: v for k, v in case.items() if k != "track_hs"},
        "'images' is float32": {**case, "images": case["images"].astype(np.float32)},
        "'track_boxes' is": {**case, "track_boxes": case["track_boxes"][:1]},
        "a batch of 9 is not in 1..8": example(9),
        "a batch of 0": {k: v[:0] for k, v in case.items()},
    }
    for says, inputs_ in wrong.items():
        with pytest.raises(EngineError, match=says) as caught:
            engine.infer(inputs_)
        assert "\n" not in str(caught.value)


def test_a_closed_engine_says_so(engine: Engine, example: Callable[[int], Any]) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(example(1))


@pytest.mark.parametrize(
    ("batch", "sizes", "expected"),
    [
        (1, (1,), [1]),
        (3, (1,), [1, 1, 1]),
        (7, (1, 2, 4, 8), [4, 2, 1]),
        (8, (1, 2, 4, 8), [8]),
        (6, (1, 4), [4, 1, 1]),
    ],
)
def test_a_batch_is_the_fewest_compiled_sizes(
    batch: int, sizes: tuple[int, ...], expected: list[int]
) -> None:
    assert parts(batch, sizes) == expected


def test_no_size_above_the_largest_batch_is_compiled() -> None:
    assert [max(sizes_for(n)) <= n for n in range(1, 10)] == [True] * 9
    assert all(1 in sizes_for(n) for n in range(1, 10))
    assert sizes_for(8, graph_bytes=200_000_000) == (1,)  # its weights lie in memory once a size and lane


def test_lanes_reach_the_plugin() -> None:
    settings = properties("f32", Lanes(threads=2, streams=2))
    assert (settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"]) == (1, 1)  # of each lane's own copy
    assert Lanes.of(None, 1).threads >= 1
    with pytest.raises(EngineError, match="0 streams"):
        Lanes.of(2, 0)


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_damaged_engine_file_gets_one_line(
    name: str, artefact_of: Callable[[str, str], Artefact], tmp_path: Path
) -> None:
    bad = dataclasses.replace(artefact_of(name, "f32"), folder=tmp_path)
    with pytest.raises(EngineError, match="cannot be opened") as caught:
        registry.backend(name).load(bad)
    assert "\n" not in str(caught.value)


def test_unknown_backends_and_precisions_get_one_line() -> None:
    with pytest.raises(EngineError, match=r"'tpu' is unknown.*openvino, onnx, torch"):
        registry.backend("tpu")
    with pytest.raises(EngineError, match="'int3' is unknown"):
        registry.resolve_precision("onnx", "int3")
    with pytest.raises(EngineError, match="onnx has no bf16"):
        registry.resolve_precision("onnx", "bf16")
    assert registry.resolve_precision("onnx", "auto") == "f32"
