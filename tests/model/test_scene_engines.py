"""ViT, SETR and VTN as engines: built, gated, and served through their tasks, on each backend in f32."""

from __future__ import annotations

import importlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines.backends.casting import has_part, lowered
from engines.backends.torch import TorchEngine, load_module
from engines.build.closeness import LIMITS, closeness
from engines.models.setr import Setr, SetrConfig, save_setr
from engines.models.vit import ViT, ViTConfig, save_vit
from engines.models.vtn import Vtn, VtnConfig, save_vtn
from engines.zoo import FAMILIES, open_engine, task_for
from streamer.ports import Engine, StagedEngine, StagedTask
from streamer.types import Frame, FrameRef, Perception

HW = (32, 48)
SMALL = {"height": HW[0], "width": HW[1], "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64}
CONFIGS = {
    "vit": ViTConfig(**SMALL, labels=("cat", "dog", "cow"), blocks=(0,), attention=True, fit="crop"),
    "setr_pup": SetrConfig(**SMALL, labels=("road", "sky"), channels=16, fit="letterbox"),
    "setr_mla": SetrConfig(
        **{**SMALL, "depth": 4},
        labels=("road", "sky"),
        channels=16,
        head_channels=8,
        decoder="mla",
        blocks=(0, 1, 2, 3),
        logits=True,
    ),
    "vtn": VtnConfig(
        **SMALL,
        labels=("walk", "run", "sit"),
        frames=6,
        window=4,
        positions=32,
        temporal_depth=2,
        temporal_heads=2,
        temporal_mlp_dim=48,
        head_dim=24,
    ),
}


def lively(model: nn.Module) -> nn.Module:
    """Weights that make answers differ from picture to picture: untrained ones hardly do."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "pos_embed" not in name:
                fan_in = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("weights"), dict[str, Path]()
    for name, config in CONFIGS.items():
        made[name] = folder / f"{name}.safetensors"
        if isinstance(config, ViTConfig):
            save_vit(lively(ViT(config)), made[name])  # type: ignore[arg-type]
        elif isinstance(config, SetrConfig):
            save_setr(lively(Setr(config)), made[name])  # type: ignore[arg-type]
        else:
            save_vtn(lively(Vtn(config)), made[name])  # type: ignore[arg-type]
    return made


def opened(path: Path, backend: str, folder: Path) -> Engine:
    return open_engine(
        str(path), backend=backend, precision="f32", max_batch_size=8, threads=2, cache_dir=folder
    )


def reference_of(engine: Engine, weights: Path) -> Engine:
    """PyTorch itself behind the engine's own inputs and outputs; nothing is built."""
    family = next(f for f in FAMILIES if f.name == engine.spec.meta["family"])
    return TorchEngine(engine.spec, load_module(family.loader, weights))


def frames(count: int, t_s: float = 0.0) -> list[Frame]:
    rng = np.random.default_rng(count + round(t_s * 100))
    pts = round(t_s * 90_000)
    return [
        Frame(
            FrameRef(f"s{i}", 1, 0, pts, Fraction(1, 90_000), 0, pts),
            rng.integers(0, 256, (*HW, 3)).astype(np.uint8),
            (60, 80),
            0,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
@pytest.mark.parametrize("name", ["vit", "setr_pup", "setr_mla"])
def test_pictures_go_in_and_answers_come_out(
    name: str, backend: str, weights: dict[str, Path], tmp_path: Path
) -> None:
    engine = opened(weights[name], backend, tmp_path)
    reference = reference_of(engine, weights[name])
    task = task_for(engine.spec)
    assert task.fit == CONFIGS[name].fit and task.input_hw == HW and not task.stateful
    given = frames(5)
    inputs = task.preprocess(given, [None] * 5)
    answer, wanted = engine.infer(inputs), reference.infer(inputs)
    said: list[Perception] = [p for p, _ in task.postprocess(answer, given, [None] * 5)]
    for field, array in wanted.items():
        if array.dtype == np.uint8:
            assert (array != answer[field]).mean() < 1e-3 and len(np.unique(array)) == 2
        else:
            assert np.abs(array - answer[field]).max() < 1e-4
    if name == "vit":
        assert {a.name for p in said for a in p.actions} == {"cat", "dog", "cow"}
        assert answer["attention"].shape == (5, 2, 7, 7) and answer["tokens_0"].shape == (5, 7, 32)
    else:
        shape = (32, 43) if name == "setr_pup" else HW  # the letterbox, 60x80 in 32x48, is cut off
        assert {p.semantic.shape for p in said if p.semantic is not None} == {shape}
        assert said[0].semantic_names == ("road", "sky")
    engine.close()
    reference.close()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_parts_named_for_16_bits_are_there_and_cost_what_they_may(
    name: str, weights: dict[str, Path]
) -> None:
    """As typed graphs are made of them; an f16 or bf16 engine of another backend stands or falls with its own gate."""
    family = next(f for f in FAMILIES if f.name == name.split("_")[0])
    model = load_module(family.loader, weights[name])
    kind = importlib.import_module(family.module)
    inputs = kind.example_inputs(3, model.config, 5)
    parts = [part for part in family.low_precision_parts if has_part(model, part)]
    trunk = ["blocks"] if name == "vit" else ["backbone.blocks"]
    decoder = {"setr_pup": ["decode_head.steps"], "setr_mla": ["decode_head.level", "neck.smooth"]}
    assert parts == trunk + decoder.get(name, [])
    served = lowered(model, parts, "bf16", inputs)
    narrow = {n.rsplit(".", 1)[0] for n, p in served.named_parameters() if p.dtype == torch.bfloat16}
    assert any("blocks.1.attn" in n for n in narrow) and not any(
        "head.norm" in n or "temporal" in n for n in narrow
    )
    with torch.inference_mode():
        for exact, rough in zip(model(*inputs), served(*inputs), strict=True):
            found = closeness(exact.numpy(), rough.numpy())
            assert rough.dtype == exact.dtype
            assert found.rms <= LIMITS["bf16"].rms and found.largest <= LIMITS["bf16"].largest
            assert found.flips < 0.1  # of random weights, whose classes nearly tie in many places


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_streams_are_judged_in_two_stages_as_by_the_reference(
    backend: str, weights: dict[str, Path], tmp_path: Path
) -> None:
    engine = opened(weights["vtn"], backend, tmp_path)
    reference = reference_of(engine, weights["vtn"])
    task = task_for(engine.spec)
    assert isinstance(engine, StagedEngine) and isinstance(task, StagedTask)
    assert [t.name for t in engine.spec.inputs] == ["images", "tick", "ring", "ring_positions", "ring_valid"]
    states = [task.initial_state() for _ in range(3)]
    plain = list(states)
    for k in range(8):
        given = frames(3, 0.16 * k)  # each second frame is due
        looks = engine.look.infer(task.look_inputs(given))
        rows = [{name: array[i] for name, array in looks.items()} for i in range(3)]
        outputs = engine.follow.infer(task.follow_inputs(rows, given, states))
        wanted = reference.infer(task.preprocess(given, plain))
        assert np.abs(outputs["logits"] - wanted["logits"]).max() < 1e-4
        assert np.abs(outputs["next_feature"] - wanted["next_feature"]).max() < 1e-4
        answers, plainly = task.postprocess(outputs, given, states), task.postprocess(wanted, given, plain)
        states, plain = [s for _, s in answers], [s for _, s in plainly]
        for (ours, _), (theirs, _) in zip(answers, plainly, strict=True):
            assert [a.name for a in ours.actions] == [a.name for a in theirs.actions]
        assert all(
            bool(p.actions) == (k >= 4) for p, _ in answers
        )  # the third due frame is enough for half a clip
    assert np.ptp(outputs["logits"], axis=0).max() > 0.01  # the streams differ
    engine.close()
    reference.close()
