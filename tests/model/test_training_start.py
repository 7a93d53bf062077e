"""A run may begin with finished weights, and only with weights of its own shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines.evaluation.knockouts import knock_out
from engines.models.street_family import Street, StreetConfig, example_inputs, load_street, save_street
from engines.training.recipe import PRESETS
from engines.training.street import StreetRun, train_street
from streamer.errors import EngineError

SMOKE = PRESETS["smoke"]


def test_a_run_begins_with_the_weights_it_is_given(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = Street(SMOKE.model)
    save_street(given, tmp_path / "given.safetensors")
    run = StreetRun(SMOKE, 0)
    run.begin_with(tmp_path / "given.safetensors")
    for mine in (run.model, run.average.model):
        for name, tensor in mine.state_dict().items():
            if tensor.is_floating_point():
                assert torch.equal(tensor, given.state_dict()[name].half().float()), name
    done = train_street("smoke", out=tmp_path / "run", steps=2, start=tmp_path / "given.safetensors")
    assert done.steps == 2


def test_weights_of_another_shape_get_one_line(tmp_path: Path) -> None:
    other: StreetConfig = replace(SMOKE.model, feed_dim=48)
    save_street(Street(other), tmp_path / "other.safetensors")
    with pytest.raises(EngineError, match="of another shape") as caught:
        StreetRun(SMOKE, 0).begin_with(tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)


def test_an_ablation_trains_and_averages_without_the_idea(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = Street(SMOKE.model).eval()
    save_street(given, tmp_path / "given.safetensors")
    run = StreetRun(replace(SMOKE, without="vote"), 0)
    run.begin_with(tmp_path / "given.safetensors")
    less = load_street(tmp_path / "given.safetensors")
    knock_out(less, "vote")
    inputs = example_inputs(1, SMOKE.model)
    for mine in (run.model.eval(), run.average.model):
        with torch.inference_mode():
            for said, wanted in zip(
                mine(*inputs), less(*inputs), strict=True
            ):  # alike but for memory's layout
                torch.testing.assert_close(said, wanted, atol=1e-4, rtol=1e-4)
    with (
        torch.no_grad()
    ):  # the average's layers are its own: what happens to the other model leaves it as it was
        run.model.decoder[0].classify.bias += 1  # type: ignore[operator, union-attr]
    with torch.inference_mode():
        torch.testing.assert_close(run.average.model(*inputs)[0], less(*inputs)[0], atol=1e-4, rtol=1e-4)
    done = train_street(
        "smoke", out=tmp_path / "run", steps=2, start=tmp_path / "given.safetensors", without="vote"
    )
    assert done.steps == 2
    with pytest.raises(EngineError, match="no idea 'magic'"):
        train_street("smoke", out=tmp_path / "other", steps=1, without="magic")
