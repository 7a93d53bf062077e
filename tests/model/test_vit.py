"""ViT against timm's, value by value, through a checkpoint file of timm's layout; and what its importer refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.checkpoints.fitting import fit
from engines.checkpoints.importing import import_checkpoint
from engines.checkpoints.reading import read_checkpoint
from engines.checkpoints.vit import plan
from engines.models.vit import (
    ViT,
    ViTConfig,
    example_inputs,
    load_vit,
    normalised,
    resized_positions,
    save_vit,
)
from streamer.errors import EngineError
from tests.golden.vit_fill import filled_vit, filled_vit_layout

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = ViTConfig(height=32, width=48, patch=16, dim=32, depth=3, heads=2, mlp_dim=64, labels=("a", "b"))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    layout = json.loads((GOLDEN / "vit.layout.json").read_text())
    return {name: torch.from_numpy(t) for name, t in filled_vit_layout(layout).items()}


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, np.ndarray]]:
    with np.load(GOLDEN / "vit.npz") as file:
        yield dict(file)


def test_vit_b_16_answers_as_timms(
    theirs: dict[str, Tensor], golden: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = tmp_path / "vit_base_patch16_224.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.items()}}, file)
    read = read_checkpoint(file)
    model = fit(plan(read, {}, where=str(file)), read, where=str(file))
    assert isinstance(model, ViT)
    config = model.config
    assert (config.dim, config.depth, config.heads, config.mlp_dim) == (768, 12, 12, 3072)
    assert (config.height, config.width, config.patch, len(config.labels)) == (224, 224, 16, 1000)
    pixels = torch.from_numpy(np.random.default_rng(11).standard_normal((1, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        tokens, [after_5], weights = model.read(pixels, (5,))
        logits, feature = model.forward_pixels(pixels)
    # Measured: 2.1e-6 of logits, 2.0e-6 of the feature, 2.9e-6 of the tokens.
    assert np.abs(logits.numpy() - golden["logits"]).max() < 1e-4
    assert np.abs(feature.numpy() - golden["feature"]).max() < 1e-4
    assert np.abs(after_5[:, ::28].numpy() - golden["tokens"]).max() < 1e-4
    assert torch.equal(tokens[:, 0], feature)
    assert weights.shape == (1, 12, 197, 197)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 12, 197))
    assert np.abs(golden["logits"]).max() > 0.5  # loud enough to tell


@pytest.mark.parametrize(("height", "width"), [(8, 20), (7, 5), (14, 20)])
def test_positions_of_another_picture_are_resized_as_timm_does(
    theirs: dict[str, Tensor], golden: dict[str, np.ndarray], height: int, width: int
) -> None:
    ours = resized_positions(theirs["pos_embed"], (height, width))[..., ::96].numpy()
    assert np.abs(ours - golden[f"positions_{height}x{width}"]).max() < 1e-5  # measured: 0


def small_checkpoint(**changes: Tensor | None) -> dict[str, Tensor]:
    shapes = {
        k: tuple(v.shape) for k, v in ViT(ViTConfig(**{**fields(SMALL), "width": 32})).state_dict().items()
    }
    made: dict[str, Tensor | None] = {k: torch.from_numpy(filled_vit(k, s)) for k, s in shapes.items()}
    return {k: v for k, v in (made | changes).items() if v is not None}


def fields(config: ViTConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in ViTConfig.__dataclass_fields__}


def test_options_set_the_picture_the_heads_and_the_labels() -> None:
    tensors = small_checkpoint()
    options = {
        "height": 32,
        "width": 48,
        "heads": 2,
        "labels": ("cat", "dog"),
        "mean": [0.1, 0.2, 0.3],
        "std": 0.5,
    }
    model = fit(plan(tensors, options, where="x"), tensors, where="x")
    assert isinstance(model, ViT)
    assert (model.config.grid_hw, model.config.heads, model.config.labels) == ((2, 3), 2, ("cat", "dog"))
    assert (model.config.mean, model.config.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert model.pos_embed.shape == (1, 7, 32)
    assert torch.equal(model.pos_embed[:, :1], tensors["pos_embed"][:, :1])


def test_an_imported_file_is_one_of_ours(tmp_path: Path) -> None:
    torch.save(small_checkpoint(), tmp_path / "small.pth")
    made = import_checkpoint(tmp_path / "small.pth", "vit", tmp_path / "small.safetensors", {"heads": "2"})
    model = load_vit(made.weights)
    assert (model.config.heads, model.config.labels) == (2, ("class 0", "class 1"))
    assert torch.equal(model.head.weight, small_checkpoint()["head.weight"])


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"blocks.1.mlp.fc2.bias": None}, {}, "1 missing: blocks.1.mlp.fc2.bias"),
        ({"dist_token": torch.zeros(1, 1, 32)}, {}, "1 left over: dist_token"),
        ({"norm.weight": torch.zeros(31)}, {}, r"wrong shape: norm.weight \(31,\) for \(32,\)"),
        ({"pos_embed": torch.zeros(1, 6, 32)}, {}, r"pos_embed"),
        ({}, {"labels": ("one",)}, "1 labels for 2 classes"),
        ({}, {"heads": 5}, "a width of 32 does not divide into 5 heads"),
        ({}, {"height": 40}, "32x40 does not divide into patches of 16"),
        ({"patch_embed.proj.weight": None}, {}, "no ViT is in it: 'patch_embed.proj.weight'"),
    ],
)
def test_what_does_not_fit_is_named(
    changes: dict[str, Tensor | None], options: dict[str, object], said: str
) -> None:
    tensors = small_checkpoint(**changes)
    with pytest.raises(EngineError, match=said) as caught:
        fit(plan(tensors, options, where="file.pth"), tensors, where="file.pth")
    assert "\n" not in str(caught.value)


def test_tokens_and_attention_are_given_where_asked_and_survive_the_file(tmp_path: Path) -> None:
    asked = ViTConfig(**{**fields(SMALL), "labels": (), "blocks": (0, 2), "attention": True})
    torch.manual_seed(0)
    model = ViT(asked).eval()
    save_vit(model, tmp_path / "w.safetensors")
    loaded = load_vit(tmp_path / "w.safetensors")
    assert loaded.config == asked
    assert loaded.output_names == ("feature", "tokens_0", "tokens_2", "attention")
    inputs = example_inputs(3, asked, seed=1)
    with torch.inference_mode():
        answers, again = loaded(*inputs), model(*inputs)
        last = loaded.norm(answers[2])[:, 0]
    assert [tuple(a.shape) for a in answers] == [(3, 32), (3, 7, 32), (3, 7, 32), (3, 2, 7, 7)]
    assert all(torch.equal(a, b) for a, b in zip(answers, again, strict=True))
    torch.testing.assert_close(answers[0], last)  # the tokens are before the norm


def test_pixels_are_normalised_inside() -> None:
    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wanted = (images.permute(0, 3, 1, 2).float() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(
        std
    )[:, None, None]
    torch.testing.assert_close(normalised(images, mean, std), wanted)


def test_pictures_of_a_batch_do_not_meet() -> None:
    torch.manual_seed(0)
    model = ViT(SMALL).eval()
    (images,) = example_inputs(4, SMALL)
    order = torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        together, shuffled, alone = model(images)[0], model(images[order])[0], model(images[2:3])[0]
    torch.testing.assert_close(together[order], shuffled, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=0)
