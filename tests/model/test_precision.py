"""16 bits in the graph: only the named parts, casts at their borders, norms folded first, and the answers right."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from engines.backends import onnx as onnx_backend
from engines.backends.casting import DTYPES, fold_norms, lowered
from engines.backends.registry import Artefact, Lanes
from engines.backends.staged import Staged
from engines.backends.torch import TorchEngine, load_module
from engines.backends.torch_cuda import Eager, GraphedEngine
from engines.build import export, graphs, inputs, judging
from engines.build.precision import as_served
from engines.build.recipe import Recipe
from engines.build.samples import SAMPLES, sample
from engines.build.strong_types import prepare_types
from engines.models.resnet import FrozenBatchNorm
from engines.zoo import recipe_for
from streamer.errors import EngineError
from streamer.ports import EngineSpec


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample("street", tmp_path_factory.mktemp("weights"), full=False)


def typed(weights: Path, precision: str) -> Recipe:
    return recipe_for(str(weights), backend="tensorrt-rtx", precision=precision)


def kinds(path: Path) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}


class Net(nn.Module):
    """Two parts that meet, and a head; the first has norms of both kinds, one of them with an enormous variance."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False)
        )
        self.frozen = FrozenBatchNorm(4)
        self.second = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)
        norm = self.first[1]
        assert (
            isinstance(norm, nn.BatchNorm2d)
            and norm.running_mean is not None
            and norm.running_var is not None
        )
        norm.running_mean.copy_(torch.tensor([1.0, -300, 0, 2]))
        norm.running_var.copy_(torch.tensor([1e6, 4.0, 1e-9, 1.0]))  # neither end is a float16
        self.frozen.running_mean.copy_(torch.tensor([0.5, 0, -1, 0]))
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        x = self.second(self.frozen(self.first(pixels)))
        return (self.head(x.mean(dim=(2, 3))),)


def test_norms_fold_into_the_convolution_before_them_and_answers_stay() -> None:
    net, pixels = Net(), torch.randn(2, 3, 5, 6)
    with torch.inference_mode():
        before = net(pixels)[0].clone()
        assert fold_norms(net, ("first", "second"), (pixels,)) == 1  # `frozen` is in no part
        assert isinstance(net.first[1], nn.Identity)
        torch.testing.assert_close(net(pixels)[0], before, atol=2e-4, rtol=1e-4)


def test_a_norm_whose_convolution_runs_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.ModuleDict(
                {"conv": nn.Conv2d(3, 3, 1), "a": nn.BatchNorm2d(3), "b": nn.BatchNorm2d(3)}
            )

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.part["b"](self.part["conv"](self.part["a"](self.part["conv"](x)))),)

    assert fold_norms(Twice().eval(), ("part",), (torch.randn(1, 3, 2, 2),)) == 0


@pytest.mark.parametrize(("precision", "apart"), [("f16", 3e-2), ("bf16", 2e-1)])
def test_only_the_named_parts_are_narrow_and_borders_are_wide(precision: str, apart: float) -> None:
    net, pixels = Net(), torch.randn(2, 3, 5, 6)
    low = lowered(net, ("first", "second"), precision, (pixels,))
    narrow = torch.float16 if precision == "f16" else torch.bfloat16
    assert {p.dtype for p in low.get_submodule("first").parameters()} == {narrow}
    assert low.get_submodule("head").weight.dtype == torch.float32
    assert net.first[0].weight.dtype == torch.float32  # the module itself is untouched
    seen: dict[str, torch.dtype] = {}
    for name in ("first", "frozen", "second", "head"):
        low.get_submodule(name).register_forward_hook(
            lambda _, a, out, name=name: seen.update({name: out.dtype})
        )
    with torch.inference_mode():
        answer, exact = low(pixels)[0], net(pixels)[0]
    assert set(seen.values()) == {torch.float32} and answer.dtype == torch.float32
    assert torch.isfinite(answer).all()
    scale = exact.abs().max()
    assert (answer - exact).abs().max() < apart * scale


def test_casts_that_undo_each_other_are_not_in_the_graph(tmp_path: Path) -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.a(x)
            return self.c(self.b(y)), y

    module, x = Chain().eval(), torch.randn(2, 4)
    path = tmp_path / "m.onnx"
    export.export(lowered(module, ("a", "b"), "f16", (x,)), ("x",), ("z", "y"), {"x": x}, path)
    prepare_types(path)
    targets = [a.i for n in onnx.load(str(path)).graph.node if n.op_type == "Cast" for a in n.attribute]
    # Down once; up for the result y, up for c.
    assert Counter(targets) == {TensorProto.FLOAT16: 1, TensorProto.FLOAT: 2}
    import onnxruntime

    got = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, {"x": x.numpy()}
    )
    for mine, exact in zip(got, module(x), strict=True):
        np.testing.assert_allclose(mine, exact.detach().numpy(), atol=5e-3)


def bytes_graph(*nodes: Any, output: int = TensorProto.FLOAT) -> onnx.ModelProto:
    shape = ["B", 2, 3]
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", output, ["B", None, None])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_bytes_become_numbers_at_the_door_only_where_nobody_computes_with_them(tmp_path: Path) -> None:
    turn = helper.make_node("Transpose", ["images"], ["t"], perm=[0, 2, 1])
    cast = helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT)
    path = tmp_path / "m.onnx"
    onnx.save(bytes_graph(turn, cast), str(path))
    prepare_types(path)
    assert [n.op_type for n in onnx.load(str(path)).graph.node] == ["Cast", "Transpose", "Cast"]
    assert kinds(path)["t"] == TensorProto.FLOAT
    double = helper.make_node("Add", ["t", "t"], ["s"])  # wraps at 256: as numbers it would not
    onnx.save(
        bytes_graph(turn, double, helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)), str(path)
    )
    prepare_types(path)
    assert [n.op_type for n in onnx.load(str(path)).graph.node] == ["Transpose", "Add", "Cast"]
    onnx.save(
        bytes_graph(helper.make_node("Transpose", ["images"], ["y"]), output=TensorProto.UINT8), str(path)
    )
    prepare_types(path)
    assert [n.op_type for n in onnx.load(str(path)).graph.node] == ["Transpose"]


def test_the_float16_graph_answers_as_the_reference_does(weights: Path, tmp_path: Path) -> None:
    """In ONNX Runtime, which computes in float16 as well: the very graph that TensorRT is given, under the gate."""
    recipe = typed(weights, "f16")
    module = load_module(recipe.family.loader, weights)
    stages = []
    for graph in graphs.exported(recipe, module, tmp_path, lambda line: None):
        spec = EngineSpec(graph.name, "onnx", "f16", "cpu", "0", graph.inputs, graph.outputs, 8, {})
        artefact = Artefact(graph.folder, spec, weights, recipe.family.loader, Lanes(1))
        onnx_backend.prepare(artefact)
        stages.append(onnx_backend.load(artefact))
    assert TensorProto.FLOAT16 in kinds(tmp_path / "look" / "model.onnx").values()
    assert TensorProto.FLOAT16 not in kinds(tmp_path / "follow" / "model.onnx").values()
    for stage in ("look", "follow"):
        graph = onnx.load(str(tmp_path / stage / "model.onnx")).graph
        narrow = {TensorProto.FLOAT, TensorProto.UINT8}  # bytes: the map of classes
        assert {v.type.tensor_type.elem_type for v in graph.output} <= narrow
    done = list(judging.compared(recipe, module, Staged("small", "0", *stages)))
    judging.gate_of(recipe.family).gate(done, "f16", "test")


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_what_is_exported_in_16_bits_passes_the_gate_in_torch(
    name: str, precision: str, tmp_path: Path
) -> None:
    weights = sample(name, tmp_path, full=False)
    assert typed(weights, "f32").family.low_precision_parts  # every family names some
    recipe = typed(weights, precision)
    module = load_module(recipe.family.loader, recipe.weights)
    examples = {n: torch.from_numpy(a) for n, a in inputs.noise(module, recipe.family, 2, seed=0).items()}
    served = as_served(recipe, module, examples)
    exact, low = module(*examples.values()), served(*examples.values())
    names = inputs.output_names(module, recipe.family)
    said = [{n: t.detach().numpy() for n, t in zip(names, answer, strict=True)} for answer in (exact, low)]
    assert {p.dtype for p in served.parameters()} == {torch.float32, DTYPES[precision]}
    gate = judging.gate_of(recipe.family)
    case = {n: t.numpy() for n, t in examples.items()}
    gate.gate([gate.compare(*said, case, "noise", precision)], precision, "test")


def test_bfloat16_is_bfloat16_in_the_graph(weights: Path, tmp_path: Path) -> None:
    recipe = typed(weights, "bf16")
    module = load_module(recipe.family.loader, weights)
    look = next(graphs.exported(recipe, module, tmp_path, lambda line: None))
    targets = [a.i for n in onnx.load(str(look.path)).graph.node if n.op_type == "Cast" for a in n.attribute]
    assert TensorProto.BFLOAT16 in targets and TensorProto.COMPLEX128 not in targets


def test_other_backends_and_f32_get_the_module_itself(weights: Path) -> None:
    module = load_module("engines.models.street_family:load_street", weights)
    assert as_served(typed(weights, "f32"), module, {}) is module
    assert as_served(dataclasses.replace(typed(weights, "bf16"), backend="openvino"), module, {}) is module
    recipe = typed(weights, "f16")
    other = dataclasses.replace(
        recipe, family=dataclasses.replace(recipe.family, low_precision_parts=("tail",))
    )
    with pytest.raises(EngineError, match="none of the parts tail"):
        as_served(other, module, {})


def test_graphed_engines_answer_as_the_plain_one_in_every_batch(weights: Path) -> None:
    """The GPU engine of torch on its CPU border: buckets, padding, lanes and row counts are the same code."""
    recipe = typed(weights, "f32")
    module = load_module(recipe.family.loader, weights)
    given = {b: inputs.noise(module, recipe.family, b, seed=b) for b in (1, 2, 3, 5)}
    tensors = {n: torch.from_numpy(a) for n, a in given[1].items()}
    names = inputs.output_names(module, recipe.family)
    with torch.inference_mode():
        shapes = dict(zip(names, module(*tensors.values()), strict=True))
    spec = EngineSpec(
        "small", "torch", "f32", "cpu", "0", graph_specs(tensors), graph_specs(shapes), 5, {}
    )  # fmt: skip
    plain, graphed = TorchEngine(spec, module), GraphedEngine(spec, module, [Eager(), Eager()])
    for case in (given[5], given[3], given[1], given[2], given[3]):
        mine, exact = graphed.infer(case), plain.infer(case)
        for name in names:
            np.testing.assert_allclose(mine[name], exact[name], atol=2e-4)
            assert mine[name].flags.writeable and mine[name].dtype == exact[name].dtype
    graphed.close()
    graphed.close()
    with pytest.raises(EngineError, match="closed"):
        graphed.infer(given[1])


def graph_specs(tensors: dict[str, Tensor]) -> tuple[Any, ...]:
    return export._specs(tensors)
