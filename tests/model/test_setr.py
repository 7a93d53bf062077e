"""SETR against both authors', all three decoders, through checkpoint files of their layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.checkpoints.fitting import fit
from engines.checkpoints.reading import read_checkpoint
from engines.checkpoints.setr import plan
from engines.models.setr import Setr, SetrConfig, example_inputs, load_setr, save_setr
from streamer.errors import EngineError
from tests.golden.vit_fill import filled_vit_layout

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [f"{author}_{kind}" for author in ("fudan", "mmseg") for kind in ("naive", "pup", "mla")]
LAYOUTS: dict[str, list[list[Any]]] = json.loads((GOLDEN / "setr.layout.json").read_text())
OPTIONS = {"heads": 2}  # 32 channels would be one head of 64


def theirs(case: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(t) for name, t in filled_vit_layout(LAYOUTS[case]).items()}


def imported(tensors: dict[str, Tensor], **options: Any) -> Setr:
    model = fit(plan(tensors, {**OPTIONS, **options}, where="x"), tensors, where="x")
    assert isinstance(model, Setr)
    return model


@pytest.mark.parametrize("case", CASES)
def test_each_decoder_answers_as_its_authors(case: str, tmp_path: Path) -> None:
    tensors = theirs(case)
    tensors["auxiliary_head.0.conv_0.weight"] = torch.zeros(3)  # of training alone
    torch.save({"state_dict": tensors}, tmp_path / "setr.pth")
    model = imported(read_checkpoint(tmp_path / "setr.pth"))
    pixels = torch.from_numpy(np.random.default_rng(12).standard_normal((2, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        logits = model.forward_pixels(pixels)
    assert logits.shape == (2, 5, 64, 64)
    with np.load(GOLDEN / "setr.npz") as golden:
        apart = np.abs(logits[..., ::4, 1::4].numpy() - golden[case]).max()
        assert np.ptp(golden[case]) > 0.2  # loud enough to tell
    assert apart < 1e-4  # measured: at most 4.8e-7
    decoder = case.split("_")[1]
    assert model.config.decoder == decoder


def test_the_two_authors_mla_differ_and_so_do_their_settings() -> None:
    fudan, mmseg = (imported(theirs(f"{a}_mla")).config for a in ("fudan", "mmseg"))
    assert (fudan.classify_kernel, fudan.align_corners, fudan.patch_bias) == (3, True, True)
    assert (mmseg.classify_kernel, mmseg.align_corners, mmseg.patch_bias) == (1, False, False)


@pytest.mark.parametrize("case", ["fudan_pup", "mmseg_mla"])
def test_another_picture_resizes_the_positions(case: str) -> None:
    tensors = theirs(case)
    model = imported(tensors, height=48, width=96)
    assert model.backbone.pos_embed.shape == (1, 3 * 6 + (case == "fudan_pup"), 32)
    with torch.inference_mode():
        (seen,) = model(*example_inputs(2, model.config))
    assert seen.shape == (2, 48, 96) and seen.dtype == torch.uint8


def vit_l_layout(decoder: str) -> dict[str, tuple[int, ...]]:
    """The released ViT-L models' names and shapes, written down from the authors' configurations, 512 px, ADE20K."""
    d, shapes = 1024, dict[str, tuple[int, ...]]()

    def affine(name: str, out: int, *given: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, *given), (out,)

    def norm(name: str, width: int) -> None:
        shapes.update(
            {f"{name}.{end}": (width,) for end in ("weight", "bias", "running_mean", "running_var")}
        )

    shapes["backbone.cls_token"], shapes["backbone.pos_embed"] = (1, 1, d), (1, 1025, d)
    affine("backbone.patch_embed.proj", d, 3, 16, 16)
    for i in range(24):
        block = f"backbone.blocks.{i}"
        affine(f"{block}.norm1", d)
        affine(f"{block}.attn.qkv", 3 * d, d)
        affine(f"{block}.attn.proj", d, d)
        affine(f"{block}.norm2", d)
        affine(f"{block}.mlp.fc1", 4 * d, d)
        affine(f"{block}.mlp.fc2", d, 4 * d)
    affine("decode_head.conv_seg", 150, 512, 1, 1)
    if decoder == "pup":
        affine("decode_head.norm", d)
        for i in range(4):
            affine(f"decode_head.conv_{i}", 256, d if i == 0 else 256, 3, 3)
            norm(f"decode_head.syncbn_fc_{i}", 256)
        affine("decode_head.conv_4", 150, 256, 1, 1)
        return shapes
    for i in range(4):
        affine(f"backbone.norm_{i}", d)
        shapes[f"backbone.mla.mla_p{i + 2}_1x1.0.weight"] = (256, d, 1, 1)
        norm(f"backbone.mla.mla_p{i + 2}_1x1.1", 256)
        shapes[f"backbone.mla.mla_p{i + 2}.0.weight"] = (256, 256, 3, 3)
        norm(f"backbone.mla.mla_p{i + 2}.1", 256)
        head = f"decode_head.mlahead.head{i + 2}"
        shapes[f"{head}.0.weight"], shapes[f"{head}.3.weight"] = (128, 256, 3, 3), (128, 128, 3, 3)
        norm(f"{head}.1", 128)
        norm(f"{head}.4", 128)
    affine("decode_head.cls", 150, 512, 3, 3)
    return shapes


@pytest.mark.parametrize(("decoder", "parameters"), [("pup", 308), ("mla", 310)])
def test_the_published_sizes_are_read_off_the_shapes(decoder: str, parameters: int) -> None:
    with torch.device("meta"):  # shapes without memory: 300 million numbers are not needed to compare names
        tensors = {name: torch.empty(shape) for name, shape in vit_l_layout(decoder).items()}
        model = fit(plan(tensors, {}, where="x"), tensors, where="x")
    assert isinstance(model, Setr)
    config = model.config
    assert (config.dim, config.depth, config.heads, config.mlp_dim) == (1024, 24, 16, 4096)
    assert (config.height, config.decoder, len(config.labels)) == (512, decoder, 150)
    assert config.blocks == (5, 11, 17, 23)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == parameters


def test_the_map_is_the_logits_argmax_and_the_decoders_scale_is_kept_on_request(tmp_path: Path) -> None:
    tensors = theirs("mmseg_naive")
    (images,) = inputs = example_inputs(2, imported(tensors).config, seed=3)
    answers = {}
    for name, options in {"map": {}, "logits": {"logits": True}, "small": {"full_size": False}}.items():
        model = imported(tensors, **options)
        save_setr(model, tmp_path / "w.safetensors")
        loaded = load_setr(tmp_path / "w.safetensors")
        assert loaded.config == model.config and loaded.output_names == (
            "logits" if name == "logits" else "map",
        )
        with torch.inference_mode():
            (answers[name],) = loaded(*inputs)
    assert torch.equal(answers["map"], answers["logits"].argmax(1).to(torch.uint8))
    assert answers["small"].shape == (2, 16, 16)  # four cells a patch
    with torch.inference_mode():
        alone = imported(tensors)(images[1:])[0]
    assert (alone[0] == answers["map"][1]).float().mean() > 0.999
    assert len(answers["map"].unique()) > 1


@pytest.mark.parametrize(
    ("case", "drop", "add", "said"),
    [
        ("fudan_pup", "decode_head.conv_2.bias", None, "1 missing: decode_head.conv_2.bias"),
        ("fudan_mla", "backbone.mla.mla_p3.0.weight", None, "1 missing: backbone.mla.mla_p3.0.weight"),
        ("mmseg_mla", "neck.norm.2.bias", None, "1 missing: neck.norm.2.bias"),
        ("mmseg_pup", None, "decode_head.more", "1 left over: decode_head.more"),
        ("fudan_pup", "backbone.pos_embed", None, "no SETR is in it: 'backbone.pos_embed'"),
    ],
)
def test_what_does_not_fit_is_named(case: str, drop: str | None, add: str | None, said: str) -> None:
    tensors = theirs(case)
    if drop:
        del tensors[drop]
    if add:
        tensors[add] = torch.zeros(2)
    with pytest.raises(EngineError, match=said) as caught:
        imported(tensors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 100}, "768x100 does not divide"),
        ({"decoder": "fpn"}, "decoder 'fpn' is unknown"),
        ({"labels": tuple("x" * 256)}, "no room for 256 classes"),
        ({"ups": (2, 3)}, "6 times the grid"),
        ({"decoder": "mla", "depth": 12}, "not blocks of 12"),
        ({"decoder": "mla", "blocks": (3, 3, 5, 7)}, "not blocks of 24 in rising order"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        SetrConfig(**changes)
