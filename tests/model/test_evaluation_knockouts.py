"""Each idea can be left out: the answer changes where the idea speaks, and nowhere before it."""

from __future__ import annotations

import pytest
import torch

from engines.evaluation.knockouts import KNOCK_OUTS, knock_out
from engines.models.street import Street
from engines.models.street_family import example_inputs
from engines.training.recipe import PRESETS
from streamer.errors import EngineError

SMALL = PRESETS["smoke"].model
SPEAKS = {
    "track-queries": "next_hs",
    "vote": "pred_logits",
    "window": "pred_logits",
    "pair-bias": "pred_logits",
    "global-context": "pred_logits",
    "mask-places": "mask_embed",
    "key-heat": "key_embed",
    "motion": "action_logits",
    "region": "action_logits",
    "clips": "action_logits",
}


def street() -> Street:
    torch.manual_seed(4)
    model = Street(SMALL).eval()
    with torch.no_grad():  # what begins at zero must say something, or leaving it out changes nothing
        assert model.mask_places is not None
        model.mask_places.fall.weight.normal_()
        for layer in model.decoder:
            layer.look.window.weight.normal_(std=0.2)
    return model


def answers(model: Street) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(zip(model.output_names, model(*example_inputs(2, SMALL, seed=3)), strict=True))


@pytest.mark.parametrize("idea", sorted(KNOCK_OUTS))
def test_an_idea_left_out_changes_what_it_says(idea: str) -> None:
    whole, model = answers(street()), street()
    knock_out(model, idea)
    less = answers(model)
    assert torch.isfinite(less["pred_boxes"]).all()
    assert not torch.equal(whole[SPEAKS[idea]], less[SPEAKS[idea]])
    if SPEAKS[idea] != "pred_logits":
        assert torch.equal(whole["pred_logits"], less["pred_logits"])


def test_unknown_ideas_and_other_models_get_one_line() -> None:
    with pytest.raises(EngineError, match="no idea 'magic'") as caught:
        knock_out(street(), "magic")
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="only street models"):
        knock_out(torch.nn.Linear(1, 1), "vote")
