"""The street model as a graph: shapes, independence of rows and pictures, and a loader that tells what is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engines.models.street_family import (
    Street,
    StreetConfig,
    example_inputs,
    load_street,
    save_street,
)
from engines.training.street import PRESETS
from streamer.errors import EngineError

SMALL = PRESETS["smoke"].model


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are quickest so, above all on a machine with other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> Street:
    torch.manual_seed(1)
    model = Street(SMALL).eval()
    with torch.no_grad():  # untrained box heads answer zero: give them a say, or drift of boxes goes unseen
        for layer in model.decoder:
            layer.correct[2].weight.normal_(std=0.05)
    return model


def run(model: Street, inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(zip(model.output_names, model(*inputs), strict=True))


def test_outputs_have_the_promised_shapes_at_the_served_size() -> None:
    config = StreetConfig()
    out = run(Street(config).eval(), example_inputs(2, config))
    rows = config.track_slots + config.object_queries
    shapes = {name: tuple(t.shape) for name, t in out.items()}
    assert shapes == {
        "pred_logits": (2, rows, len(config.labels)),
        "pred_boxes": (2, rows, 4),
        "mask_embed": (2, rows, config.mask_channels),
        "mask_features": (2, config.mask_channels, 72, 128),
        "next_hs": (2, rows, config.hidden_dim),
    }
    assert all(torch.isfinite(t).all() for t in out.values())
    assert out["pred_boxes"].min() >= 0 and out["pred_boxes"].max() <= 1


def test_what_lies_in_empty_slots_changes_nothing(model: Street) -> None:
    images, hs, boxes, valid, *ring = example_inputs(3, SMALL)
    assert 0 < valid.sum() < valid.numel()
    empty = (1 - valid).bool()
    other_hs, other_boxes = hs.clone(), boxes.clone()
    other_hs[empty] = 1e3
    other_boxes[empty] = 0.0  # a box without size, as an unused slot holds it
    first = run(model, (images, hs, boxes, valid, *ring))
    second = run(model, (images, other_hs, other_boxes, valid, *ring))
    used = torch.cat((valid.bool(), torch.ones(3, SMALL.object_queries, dtype=torch.bool)), dim=1)
    for name in ("pred_logits", "pred_boxes", "next_hs", "key_embed", "object_feature"):
        torch.testing.assert_close(first[name][used], second[name][used], atol=1e-5, rtol=0)


def test_a_valid_track_does_change_the_answer(model: Street) -> None:
    images, hs, boxes, valid, *ring = example_inputs(1, SMALL)
    with_tracks = run(model, (images, hs, boxes, valid, *ring))
    without = run(model, (images, hs, boxes, valid * 0, *ring))
    k = SMALL.track_slots
    assert (with_tracks["pred_logits"][:, k:] - without["pred_logits"][:, k:]).abs().max() > 1e-4


def test_pictures_of_a_batch_do_not_meet(model: Street) -> None:
    inputs = example_inputs(4, SMALL)
    order = torch.tensor([2, 0, 3, 1])
    together, shuffled = run(model, inputs), run(model, tuple(x[order] for x in inputs))
    alone = run(model, tuple(x[2:3] for x in inputs))
    for name, answer in together.items():
        torch.testing.assert_close(answer[order], shuffled[name], atol=1e-5, rtol=0)
        torch.testing.assert_close(answer[2:3], alone[name], atol=1e-5, rtol=0)


def test_track_rows_answer_in_the_order_of_their_slots(model: Street) -> None:
    images, hs, boxes, _, *ring = example_inputs(1, SMALL)
    valid = torch.ones(1, SMALL.track_slots)
    order = torch.randperm(SMALL.track_slots, generator=torch.Generator().manual_seed(3))
    first = run(model, (images, hs, boxes, valid, *ring))
    second = run(model, (images, hs[:, order], boxes[:, order], valid, *ring))
    k = SMALL.track_slots
    torch.testing.assert_close(
        first["pred_boxes"][:, :k][:, order], second["pred_boxes"][:, :k], atol=1e-5, rtol=0
    )


def test_saved_weights_load_as_the_same_model(model: Street, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_street(model, path, {"seed": "7"})
    loaded = load_street(path)
    assert loaded.config == SMALL and not loaded.training
    inputs = example_inputs(2, SMALL)
    for name, answer in run(loaded, inputs).items():  # float16 on disk: close, not equal
        expected = run(model, inputs)[name]
        if name == "semantic":  # the likeliest class: of two equally likely ones a rounding decides
            assert (answer == expected).float().mean() > 0.995
            continue
        torch.testing.assert_close(answer, expected, atol=0.05, rtol=0.05)
    again = tmp_path / "again.safetensors"
    save_street(loaded, again)
    stored, restored = load_file(path), load_file(again)
    assert all(torch.equal(stored[name], restored[name]) for name in stored)


def metadata(**config: object) -> dict[str, str]:
    return {"format": "sightline.street/1", "config": json.dumps({**dataclasses.asdict(SMALL), **config})}


def test_the_loader_names_what_is_missing_left_over_and_misshaped(model: Street, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_street(model, path)
    tensors = load_file(path)
    tensors["seed.weights"] = tensors.pop("seed.weight")
    tensors["seed.bias"] = torch.zeros(5)
    save_file(tensors, path, metadata())
    with pytest.raises(EngineError) as caught:
        load_street(path)
    line = str(caught.value)
    assert "1 missing: seed.weight;" in line and "1 left over: seed.weights;" in line
    assert "wrong shape: seed.bias (5,) for (32,)" in line and "\n" not in line and str(path) in line


def test_the_loader_tells_a_missing_a_broken_and_a_foreign_file_apart(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not exist"):
        load_street(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a weights file")
    with pytest.raises(EngineError, match="cannot be read"):
        load_street(broken)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(EngineError, match="format 'none'"):
        load_street(foreign)


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(EngineError, match="250x144"):
        StreetConfig(width=250)
