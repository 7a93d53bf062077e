"""VTN against its authors' (whose temporal encoder is `transformers`' Longformer), and the ring against the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.build.export import export
from engines.checkpoints.fitting import fit
from engines.checkpoints.reading import read_checkpoint
from engines.checkpoints.vtn import plan
from engines.models.longformer import band_mask
from engines.models.vtn import Vtn, VtnClip, VtnConfig, example_inputs, load_vtn, save_vtn
from engines.models.vtn_stages import FOLLOW_INPUTS, LOOK_OUTPUTS, cut
from streamer.errors import EngineError
from tests.golden.vit_fill import filled_vit_layout

GOLDEN = Path(__file__).parents[1] / "golden"
OPTIONS = {"heads": 3, "temporal_heads": 3}
T = 16


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    layout = json.loads((GOLDEN / "vtn.layout.json").read_text())
    return {name: torch.from_numpy(t) for name, t in filled_vit_layout(layout).items()}


def imported(tensors: dict[str, Tensor], **options: Any) -> Vtn:
    model = fit(plan(tensors, {**OPTIONS, **options}, where="x"), tensors, where="x")
    assert isinstance(model, Vtn)
    return model


@pytest.fixture(scope="module")
def model(theirs: dict[str, Tensor]) -> Vtn:
    return imported(theirs)


@pytest.mark.parametrize("frames", [16, 250])
def test_a_clip_is_judged_as_by_its_authors(theirs: dict[str, Tensor], frames: int, tmp_path: Path) -> None:
    file = tmp_path / "vtn.pyth"
    torch.save({"model_state": theirs}, file)
    model = imported(read_checkpoint(file), frames=frames)
    pictures = np.random.default_rng(13).standard_normal((1, 3, 16, 32, 32)).astype(np.float32)
    clip = torch.from_numpy(pictures[:, :, np.arange(frames) * 7 % 16].transpose(0, 2, 1, 3, 4))
    positions = (torch.arange(frames) * 8)[None]  # with 250 frames past the 286 places, several times
    with torch.inference_mode():
        logits = model.forward_clip_pixels(clip, positions)
        features = model.see_pixels(clip[0])[None]
        tokens = model.temporal(model.cls_token, features, positions, torch.ones(1, frames))
    with np.load(GOLDEN / "vtn.npz") as golden:  # measured: 3.0e-8 of logits, 1.3e-6 of tokens
        assert np.abs(logits.numpy() - golden[f"logits_{frames}"]).max() < 1e-4
        assert np.abs(tokens[:, ::5].numpy() - golden[f"tokens_{frames}"]).max() < 1e-4
        assert np.ptp(golden[f"logits_{frames}"]) > 0.1  # loud enough to tell


def test_the_window_and_the_class_tokens_own_projections_matter(
    theirs: dict[str, Tensor], model: Vtn
) -> None:
    """What would be wrong with plain attention: a wider band, and global projections that are not used."""
    features, positions = (
        torch.randn(1, T, 48, generator=torch.Generator().manual_seed(1)),
        torch.arange(T)[None],
    )
    full = torch.ones(1, T)
    wide = imported(theirs, window=64)
    swapped = dict(theirs)
    for i in range(3):
        at = f"temporal_encoder.encoder.layer.{i}.attention.self.query"
        swapped[f"{at}_global.weight"] = theirs[f"{at}.weight"]
    with torch.inference_mode():
        right = model.judge(features, positions, full)
        assert (wide.judge(features, positions, full) - right).abs().max() > 1e-3
        assert (imported(swapped).judge(features, positions, full) - right).abs().max() > 1e-2


def test_a_band_is_half_a_window_to_each_side() -> None:
    band = band_mask(24, 18)
    assert band.shape == (24, 25)
    seen = band[12] == 0
    assert torch.nonzero(seen).flatten().tolist() == [0, *range(1 + 3, 1 + 22)]  # 9 before, itself, 9 after


@pytest.mark.parametrize("known", [0, 4, T - 1])
def test_a_ring_with_empty_places_is_the_shorter_clip(
    theirs: dict[str, Tensor], model: Vtn, known: int
) -> None:
    images, tick, ring, ring_positions, _ = example_inputs(2, model.config, seed=2)
    valid = torch.zeros(2, T - 1)
    valid[:, T - 1 - known :] = 1
    short = imported(theirs, frames=max(known + 1, 2))
    with torch.inference_mode():
        logits, feature = model(images, tick, ring, ring_positions, valid)
        spoiled = torch.where(valid.unsqueeze(-1) > 0, ring, torch.full_like(ring, 77.0))
        again, _ = model(images, tick, spoiled, ring_positions * valid.long(), valid)
        if known:
            features = torch.cat((ring[:, T - 1 - known :], feature[:, None]), dim=1)
            places = torch.cat((ring_positions[:, T - 1 - known :], tick[:, None]), dim=1)
            wanted = short.judge(features, places, torch.ones(2, known + 1))
            torch.testing.assert_close(logits, wanted, atol=2e-6, rtol=0)
    assert torch.equal(logits, again)  # what lies in empty places changes nothing


def test_frame_by_frame_is_the_whole_clip(model: Vtn) -> None:
    generator = torch.Generator().manual_seed(5)
    clip = torch.randint(0, 256, (1, T, 32, 32, 3), dtype=torch.uint8, generator=generator)
    ticks = torch.arange(T) * 8
    ring, places, valid = (
        torch.zeros(1, T - 1, 48),
        torch.zeros(1, T - 1, dtype=torch.int64),
        torch.zeros(1, T - 1),
    )
    look, follow = cut(model)
    with torch.inference_mode():
        for k in range(T):
            looked = dict(zip(LOOK_OUTPUTS, look(clip[:, k], ticks[k : k + 1]), strict=True))
            given = {**looked, "ring": ring, "ring_positions": places, "ring_valid": valid}
            logits, feature = follow(*(given[name] for name in FOLLOW_INPUTS))
            whole = model(clip[:, k], ticks[k : k + 1], ring, places, valid)
            torch.testing.assert_close((logits, feature), whole, atol=1e-6, rtol=0)
            ring = torch.cat((ring, feature[:, None]), dim=1)[:, 1:]
            places = torch.cat((places, ticks[None, k : k + 1]), dim=1)[:, 1:]
            valid = torch.cat((valid, torch.ones(1, 1)), dim=1)[:, 1:]
        wanted = model.forward_clip(clip, ticks[None])
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)


def test_the_whole_exports_with_a_free_batch(model: Vtn, tmp_path: Path) -> None:
    import onnxruntime

    rng = torch.Generator().manual_seed(6)

    def clips(batch: int) -> dict[str, Tensor]:
        clip = torch.randint(0, 256, (batch, T, 32, 32, 3), dtype=torch.uint8, generator=rng)
        return {"clip": clip, "positions": torch.randint(0, 300, (batch, T), generator=rng)}

    whole = VtnClip(model).eval()
    export(whole, whole.input_names, whole.output_names, clips(2), tmp_path / "clip.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "clip.onnx"), providers=["CPUExecutionProvider"])
    given = clips(3)
    (logits,) = session.run(None, {name: t.numpy() for name, t in given.items()})
    with torch.inference_mode():
        (wanted,) = whole(**given)
    assert np.abs(logits - wanted.numpy()).max() < 1e-5


def test_saved_weights_load_as_the_same_model(model: Vtn, tmp_path: Path) -> None:
    save_vtn(model, tmp_path / "w.safetensors")
    loaded = load_vtn(tmp_path / "w.safetensors")
    assert loaded.config == model.config
    inputs = example_inputs(3, model.config)
    with torch.inference_mode():
        assert torch.equal(loaded(*inputs)[0], model(*inputs)[0])


def test_the_published_configuration_is_read_off_the_shapes(theirs: dict[str, Tensor]) -> None:
    """Names as in the golden layout, sizes as published: 113.5 million numbers, none of them in memory."""
    sizes = {48: 768, 144: 2304, 192: 3072, 96: 3072, 40: 768, 7: 400, 5: 197}
    with torch.device("meta"):
        grown = {}
        for name, tensor in theirs.items():
            for i in range(12) if ".blocks.0." in name else [0]:
                if ".blocks.1." not in name:
                    key = name.replace(".blocks.0.", f".blocks.{i}.")
                    grown[key] = torch.empty([sizes.get(n, n) for n in tensor.shape])
        model = fit(plan(grown, {}, where="x"), grown, where="x")
    assert isinstance(model, Vtn)
    assert model.config == VtnConfig()
    assert sum(p.numel() for p in model.parameters()) == 113_502_352  # as their class counts


@pytest.mark.parametrize(
    ("drop", "add", "said"),
    [
        ("temporal_encoder.encoder.layer.1.attention.self.key_global.bias", None, "1 missing: temporal_.*key_global"),
        (None, "temporal_encoder.pooler.dense.weight", ""),
        (None, "temporal_encoder.encoder.layer.0.more", "1 left over: temporal_encoder.encoder.layer.0.more"),
        ("mlp_head.4.bias", None, "no VTN is in it: 'mlp_head.4.bias'"),
        ("backbone.norm.bias", None, "1 missing: backbone.norm.bias"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    theirs: dict[str, Tensor], drop: str | None, add: str | None, said: str
) -> None:
    tensors = {k: v for k, v in theirs.items() if k != drop}
    if add:
        tensors[add] = torch.zeros(2)
    if not said:
        assert imported(tensors)
        return
    with pytest.raises(EngineError, match=said) as caught:
        imported(tensors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"frames": 1}, {"window": 17}, {"positions": 2}, {"stride_s": 0.0}])
def test_a_config_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError):
        VtnConfig(**changes)
