"""Both TrackFormers as modules: two ways to read a grid, empty slots, batches, stages, variants, and padding."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.models import trackformer, trackformer_detr, trackformer_stages
from engines.models.deform_attention import DeformAttention, sampled_by_gather, sampled_by_grid
from engines.models.positions import sine_2d, sine_3d
from engines.models.trackformer import TrackFormer, TrackFormerConfig
from engines.models.trackformer_detr import TrackFormerDetr, TrackFormerDetrConfig
from streamer.errors import EngineError

SMALL: dict[str, Any] = dict(
    height=70, width=97, backbone_layers=(1, 1, 1, 1), backbone_width=8, hidden_dim=96, feed_dim=64,
    encoder_layers=2, decoder_layers=2, object_queries=9, track_slots=16,
)  # fmt: skip
Model = TrackFormer | TrackFormerDetr


def stirred(model: Model) -> Model:
    """Weights that make every part matter; untrained, deformable attention reads the same for all queries."""
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if name.endswith(("sampling_offsets.weight", "attention_weights.weight")):
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model.eval()


def deformable(**more: Any) -> TrackFormer:
    torch.manual_seed(0)
    return stirred(TrackFormer(TrackFormerConfig(**{**SMALL, **more})))  # type: ignore[return-value]


def plain(**more: Any) -> TrackFormerDetr:
    torch.manual_seed(0)
    return stirred(TrackFormerDetr(TrackFormerDetrConfig(**{**SMALL, **more})))  # type: ignore[return-value]


VARIANTS = {
    "deformable": deformable,
    "one frame": lambda: deformable(frames=1),
    "boxes once": lambda: deformable(box_refine=False),
    "gather": lambda: deformable(sampler="gather"),
    "plain": plain,
    "dilated": lambda: plain(dilation=True),
}


@pytest.fixture(params=list(VARIANTS))
def model(request: pytest.FixtureRequest) -> Model:
    return VARIANTS[request.param]()  # type: ignore[no-any-return]


def family(model: Model) -> ModuleType:
    return trackformer if isinstance(model, TrackFormer) else trackformer_detr


def inputs(model: Model, batch: int, seed: int = 0) -> dict[str, Tensor]:
    kind = family(model)
    names = getattr(model, "input_names", kind.INPUT_NAMES)
    return dict(zip(names, kind.example_inputs(batch, model.config, seed), strict=True))


def run(model: Model, given: dict[str, Tensor]) -> dict[str, Tensor]:
    names = getattr(model, "output_names", family(model).OUTPUT_NAMES)
    with torch.no_grad():
        return dict(zip(names, model(*given.values()), strict=True))


def apart(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 8)])
def test_reading_by_gather_is_reading_by_grid(shape: tuple[int, int]) -> None:
    """Places far outside, at the edges, and on cells' middles among them."""
    rng = torch.Generator().manual_seed(3)
    table = torch.randn(4, 6, *shape, generator=rng)
    at = torch.rand(4, 50, 3, 2, generator=rng) * 1.6 - 0.3
    at[:, 0], at[:, 1], at[:, 2] = 0.0, 1.0, 0.5
    at[:, 3] = -40.0
    assert apart(sampled_by_gather(table, at), sampled_by_grid(table, at)) < 1e-5


@pytest.mark.parametrize("boxes", [2, 4])
def test_deformable_attention_is_the_same_with_both(boxes: int) -> None:
    torch.manual_seed(2)
    one, other = DeformAttention(32, 4, 2, 3), DeformAttention(32, 4, 2, 3, "gather")
    for weight in one.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    other.load_state_dict(one.state_dict())
    grids = ((5, 7), (3, 4))
    query, memory, reference = torch.randn(2, 6, 32), torch.randn(2, 47, 32), torch.rand(2, 6, 2, boxes)
    valid = (torch.rand(2, 47, 1) > 0.2).float()
    with torch.no_grad():
        found = one(query, reference, memory, valid, grids)
        assert apart(found, other(query, reference, memory, valid, grids)) < 1e-5
        hidden = torch.where(valid > 0, memory, torch.full_like(memory, 50.0))
        assert apart(found, one(query, reference, hidden, valid, grids)) == 0.0
        assert apart(found, one(query, reference, memory, torch.ones_like(valid), grids)) > 1e-2


@pytest.mark.parametrize("tracks", [3, 7])
def test_empty_slots_change_nothing(model: Model, tracks: int) -> None:
    given = inputs(model, 2)
    exact = {n: t[:, :tracks] if n.startswith("track_") else t for n, t in given.items()}
    exact["track_valid"] = torch.ones(2, tracks)
    padded = {**given, "track_valid": torch.zeros(2, 16)}
    padded["track_valid"][:, :tracks] = 1
    few, many = run(model, exact), run(model, padded)
    rows = [*range(tracks), *range(16, 16 + SMALL["object_queries"])]
    for name in ("pred_logits", "pred_boxes", "next_hs"):
        assert apart(few[name], many[name][:, rows]) <= 1e-5
    without = run(model, {**padded, "track_valid": torch.zeros(2, 16)})
    assert apart(without["next_hs"][:, 16:], many["next_hs"][:, 16:]) > 1e-3  # tracks that are there do count


def test_what_an_empty_slot_holds_is_never_seen(model: Model) -> None:
    given = inputs(model, 2)
    empty = given["track_valid"] < 0.5
    full = {n: t.clone() for n, t in given.items()}
    full["track_hs"][empty] = 1e3
    if "track_boxes" in full:
        full["track_boxes"][empty] = float("nan")
    real = torch.cat((~empty, torch.ones(2, SMALL["object_queries"], dtype=torch.bool)), dim=1)
    before, after = run(model, given), run(model, full)
    assert all(
        apart(before[n][real], after[n][real]) == 0.0 for n in ("pred_logits", "pred_boxes", "next_hs")
    )


def test_a_batch_is_each_picture_alone_in_any_order(model: Model) -> None:
    given = inputs(model, 3)
    together = run(model, given)
    order = [2, 0, 1]
    shuffled = run(model, {n: t[order] for n, t in given.items()})
    for name, answer in together.items():
        assert apart(shuffled[name], answer[order]) < 1e-5
        alone = torch.cat([run(model, {n: t[i : i + 1] for n, t in given.items()})[name] for i in range(3)])
        assert apart(alone, answer) < 1e-5


def test_the_stages_are_forward(model: Model) -> None:
    given = inputs(model, 3)
    look, follow = trackformer_stages.cut(model)
    with torch.no_grad():
        looked = dict(zip(look.output_names, look(given["images"], given["content_hw"]), strict=True))
        taken = {**looked, **given}
        answer = dict(zip(follow.output_names, follow(*(taken[n] for n in follow.input_names)), strict=True))
    whole = run(model, given)
    assert answer.keys() == whole.keys()
    assert all(apart(answer[n], whole[n]) == 0.0 for n in whole)


def test_what_lies_in_the_padding_is_never_seen(model: Model) -> None:
    given = inputs(model, 1)
    given["content_hw"] = torch.tensor([[50.0, 71.0]])
    noisy = {**given, "images": given["images"].clone()}
    noisy["images"][:, 50:], noisy["images"][:, :, 71:] = 255, 255
    before, after = run(model, given), run(model, noisy)
    assert apart(before["pred_boxes"], after["pred_boxes"]) == 0.0
    whole = run(model, {**given, "content_hw": torch.tensor([[70.0, 97.0]])})
    assert apart(before["pred_boxes"], whole["pred_boxes"]) > 1e-4


def test_the_first_picture_stands_in_for_the_one_before() -> None:
    model = deformable()
    given = inputs(model, 2)
    first = run(model, {**given, "prev_valid": torch.zeros(2)})
    itself = run(model, {**given, "prev_valid": torch.ones(2), "prev_memory": first["next_memory"]})
    assert apart(first["next_hs"], itself["next_hs"]) == 0.0
    other = run(model, {**given, "prev_valid": torch.ones(2)})
    assert apart(first["next_hs"], other["next_hs"]) > 1e-3


def test_natural_inputs_are_tracks_of_a_first_pass(model: Model) -> None:
    blank = {n: t.numpy() for n, t in inputs(model, 2).items()}
    pictures = np.random.default_rng(0).integers(0, 256, (2, 2, 70, 97, 3), dtype=np.uint8)

    def reference(given: Any) -> dict[str, Any]:
        return {
            n: t.numpy() for n, t in run(model, {n: torch.from_numpy(a) for n, a in given.items()}).items()
        }

    found = family(model).natural_inputs(blank, pictures, reference)
    assert {n: (a.shape, a.dtype) for n, a in found.items()} == {
        n: (a.shape, a.dtype) for n, a in blank.items()
    }
    assert list(found) == list(blank) or run(model, {n: torch.from_numpy(found[n]) for n in blank})
    assert found["track_valid"].sum(axis=1).tolist() == [3, 7]
    assert np.abs(found["track_hs"][:, :7]).min() > 0 and not np.isnan(found["track_hs"]).any()
    if "prev_memory" in found:
        assert found["prev_valid"].tolist() == [1, 1] and found["prev_memory"].std() > 0.1


def test_positions_tell_frames_apart_and_a_count_from_the_middle_is_half_a_cell_off() -> None:
    whole = torch.zeros(1, 4, 6, dtype=torch.bool)
    before, now = (sine_3d(whole, 24, frame, 2) for frame in (0, 1))
    assert apart(before[..., 8:], now[..., 8:]) == 0.0 and apart(before[..., :8], now[..., :8]) > 0.5
    assert (
        apart(before[..., :1], torch.full((1, 4, 6, 1), float(np.sin(np.pi)))) < 1e-5
    )  # frame 1 of 2: half a turn
    middle, end = sine_2d(whole, 8, first=0.5), sine_2d(whole, 8)
    np.testing.assert_allclose(middle[0, 0, 0, 0], np.sin(2 * np.pi * 0.5 / 4), atol=1e-5)
    np.testing.assert_allclose(end[0, 0, 0, 0], np.sin(2 * np.pi * 1 / 4), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"height": 40}, "too small"),
        ({"fit": "crop"}, "fit 'crop'"),
        ({"labels": ("a",) * 21}, "21 labels for 20 classes"),
        ({"frames": 3}, "3 frames"),
        ({"hidden_dim": 64}, "hidden_dim 64"),
    ],
)
def test_a_config_that_makes_no_model_is_refused_in_one_line(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(EngineError, match=what) as caught:
        TrackFormerConfig(**{**SMALL, **fields})
    assert "\n" not in str(caught.value)
