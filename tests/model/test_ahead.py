"""Every served graph is compiled by TensorRT for RTX, for four generations of GPUs, on a machine that has none."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engines.build import ensure_built
from engines.build.ahead import TARGETS, UNVERIFIED, build_ahead
from engines.build.cache import ENGINE_FILE
from engines.build.samples import SAMPLES, sample
from engines.zoo import FAMILIES, recipe_for
from streamer import cli
from streamer.errors import EngineError

pytestmark = pytest.mark.rtx
NAMED = {family.name for family in FAMILIES if family.low_precision_parts}


@pytest.fixture(autouse=True, scope="module")
def compiler() -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        why = "TensorRT for RTX is not installed: make rtx"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


def graph_file(folder: Path, node: onnx.NodeProto, output: onnx.ValueInfoProto, opset: int = 17) -> Path:
    given = helper.make_tensor_value_info("q", TensorProto.FLOAT, ["B", 4, 8])
    graph = helper.make_graph([node], "g", [given], [output])
    path = folder / f"{node.op_type}.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), str(path)
    )
    return path


def float_out(*shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))


def test_every_family_is_built_here() -> None:
    assert {family.name for family in FAMILIES} <= set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_it_compiles_every_graph_of_every_family(name: str, precision: str, tmp_path: Path) -> None:
    weights = sample(name, tmp_path, full=False)
    exact = recipe_for(str(weights), backend="tensorrt-rtx", precision="f32", max_batch_size=4)
    if precision != "f32" and exact.family.name not in NAMED:
        with pytest.raises(EngineError, match="names no parts"):  # what else it would be built as: f32
            recipe_for(str(weights), backend="tensorrt-rtx", precision=precision)
        return
    recipe = recipe_for(str(weights), backend="tensorrt-rtx", precision=precision, max_batch_size=4)
    report = build_ahead(recipe, TARGETS, tmp_path / "engines")
    assert (report.sms, report.state, report.precision) == (TARGETS, UNVERIFIED, precision)
    assert len(report.graphs) == (2 if recipe.stages else 1)
    for graph in report.graphs:
        assert graph.nodes > 10 and graph.plan_bytes > 10_000


def test_the_shipped_model_is_taken_by_the_command_and_not_served_where_it_cannot_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so it is on a machine with a GPU as well
    asked = ["models", "build", "--backend", "tensorrt-rtx", "--ahead", "80,86,89,120"]
    assert cli.run([*asked, "--data-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    look, follow, summary = out.splitlines()
    assert look.startswith("street-nano/look: ") and follow.startswith("street-nano/follow: ")
    assert f"f16 for SM 80, 86, 89, 120, {UNVERIFIED}" in summary
    assert "Building engine 0 %" in err  # it is not silent meanwhile
    [record] = tmp_path.rglob("ahead.json")
    assert json.loads(record.read_text())["state"] == UNVERIFIED
    recipe = recipe_for("street-nano", backend="tensorrt-rtx", threads=1)
    with pytest.raises(EngineError, match="needs a GPU to build an engine that may be used") as caught:
        ensure_built(recipe, tmp_path / "engines")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(ENGINE_FILE))  # nothing that could be opened for serving


def test_a_users_graph_is_built_and_a_refused_operator_is_named(tmp_path: Path) -> None:
    taken = graph_file(tmp_path, helper.make_node("Softmax", ["q"], ["y"]), float_out("B", 4, 8))
    report = build_ahead(taken, (89,), tmp_path / "engines", max_batch_size=2)
    assert [graph.name for graph in report.graphs] == ["Softmax"] and report.max_batch_size == 2
    where = helper.make_node("NonZero", ["q"], ["y"], name="where")
    rows = helper.make_tensor_value_info("y", TensorProto.INT64, [3, "N"])
    with pytest.raises(EngineError, match=r"does not take this graph: NonZero where: ") as caught:
        build_ahead(graph_file(tmp_path, where, rows), (89,), tmp_path / "engines")
    assert "\n" not in str(caught.value)


def test_a_crash_of_the_compiler_costs_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """The compiler of 1.7 crashes on this node of opset 23, which is why it has a process of its own."""
    same = helper.make_node("Attention", ["q", "q", "q"], ["y"], q_num_heads=2, kv_num_heads=2)
    path = graph_file(tmp_path, same, float_out("B", 4, 8), opset=23)
    with pytest.raises(
        EngineError, match=r"crashed \(SIGSEGV\) while compiling Attention for SM 89"
    ) as caught:
        build_ahead(path, (89,), tmp_path / "engines")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "engines" / "ahead").iterdir())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["street-nano", "--ahead", "80"], "backend openvino does not build ahead of time"),
        (["m.onnx", "--ahead", "80"], "backend openvino does not build ahead of time"),
        (["no.onnx", "--backend", "tensorrt-rtx", "--ahead", "80"], "no.onnx: the ONNX file does not exist"),
        (["bad.onnx", "--backend", "tensorrt-rtx", "--ahead", "80"], "bad.onnx: this is no ONNX model"),
        (["--backend", "tensorrt-rtx", "--ahead", "ada"], "--ahead: 'ada' names no architectures"),
        (["--backend", "tensorrt-rtx", "--ahead", ","], "no architecture to build for"),
    ],
)
def test_mistakes_of_the_command_are_one_line(
    asked: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.onnx").write_text("no graph")
    assert cli.run(["models", "build", *asked, "--data-dir", str(tmp_path)]) == 1
    assert says in capsys.readouterr().err.splitlines()[-1]
