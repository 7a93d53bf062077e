"""The parts of street training, one by one: clips, matching, the next frame's tracks, losses, the average."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from engines.models.street import Scene
from engines.models.street_parts import LayerOutput
from engines.training.averaging import WeightAverage
from engines.training.clips import (
    EMPTY,
    NOBODY,
    ClipPlan,
    Lane,
    empty_batch,
    render_batches,
)
from engines.training.losses import dense_losses, mask_losses, row_losses
from engines.training.matching import UNMATCHED, match_rows, pair_costs
from engines.training.tracks import (
    EMPTY_SLOT,
    FALSE_TRACK,
    PATIENCE_FRAMES,
    empty_slots,
    jittered,
    next_slots,
)
from streamer.world.splits import SPLITS
from streamer.world.truth import TEST_THEMES

PLAN = ClipPlan(seed=5, height=64, width=96, lanes=2, frames=2, stay=3)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are quickest so, above all on a machine with other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_step_s_clips_do_not_depend_on_where_rendering_began() -> None:
    from_start = list(itertools.islice(render_batches(PLAN), 6))
    for first in (1, 2, 5):
        resumed = next(render_batches(PLAN, first))
        for name, array in resumed._asdict().items():
            np.testing.assert_array_equal(array, getattr(from_start[first], name), err_msg=name)
    assert not np.array_equal(from_start[0].images, from_start[1].images)
    assert from_start[0].fresh.all() and from_start[3].fresh[0]


def test_clips_tell_the_same_story_in_boxes_and_masks() -> None:
    batch = next(render_batches(PLAN))
    assert (batch.ids >= 0).sum() > 4
    checked = 0
    for t, b, g in zip(*np.nonzero(batch.ids >= 0), strict=True):
        ys, xs = np.nonzero(batch.masks[t, b] == g)
        if len(xs) < 12:
            continue
        cx, cy, w, _ = batch.boxes[t, b, g]
        assert abs((xs.min() + xs.max() + 1) / 2 / 48 - cx) < 0.03
        assert abs((ys.min() + ys.max() + 1) / 2 / 32 - cy) < 0.05
        assert abs((xs.max() - xs.min() + 1) / 48 - w) < 0.05
        checked += 1
    assert checked > 2
    assert set(np.unique(batch.masks)) <= {*range(PLAN.max_objects), NOBODY}


def test_training_worlds_are_of_training_seeds() -> None:
    for index, visit in itertools.product(range(4), range(3)):
        config = Lane(PLAN, index, visit).world.config
        assert config.seed in SPLITS["train"] and config.theme not in TEST_THEMES


def test_empty_places_are_marked() -> None:
    batch = empty_batch(PLAN)
    assert (batch.labels == EMPTY).all() and (batch.ids == EMPTY).all() and (batch.masks == NOBODY).all()


def test_a_track_keeps_its_object_and_object_rows_share_out_the_rest() -> None:
    costs = np.array([[[0.0, 5.0, 9.0], [0.0, 1.0, 9.0]]], np.float32)  # 2 object rows, 3 places
    slot_ids = np.array([[7, EMPTY_SLOT]])
    true_ids = np.array([[7, 8, EMPTY]])
    rows = match_rows(costs, slot_ids, true_ids)
    # object 7 is slot 0's, though both object rows would be cheapest there; 8 goes to the row that costs least
    assert rows.tolist() == [[0, UNMATCHED, UNMATCHED, 1]]


def test_false_and_empty_slots_never_match() -> None:
    rows = match_rows(
        np.zeros((1, 1, 2), np.float32), np.array([[FALSE_TRACK, EMPTY_SLOT]]), np.array([[EMPTY, EMPTY]])
    )
    assert (rows == UNMATCHED).all()


def test_costs_prefer_the_right_box_and_the_right_class() -> None:
    true_boxes, true_labels = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.tensor([[1]])
    logits = torch.tensor([[[-3.0, 3.0], [3.0, -3.0], [-3.0, 3.0]]])
    rows = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]]])
    right, wrong_class, wrong_place = pair_costs(logits, rows, true_boxes, true_labels)[0, :, 0]
    assert right < wrong_class and right < wrong_place


def slots_with_a_track() -> tuple[object, torch.Tensor, torch.Tensor]:
    before = empty_slots(1, 3, 2)
    before.ids[0, 1] = 7
    before.hs[0, 1] = torch.tensor([3.0, 4.0])
    before.boxes[0, 1] = 0.3
    next_hs = torch.arange(10, dtype=torch.float32).view(1, 5, 2).requires_grad_()
    boxes = torch.linspace(0.1, 0.9, 20).view(1, 5, 4)
    return before, next_hs, boxes


def advance(
    row_places: list[int], drop: float = 0.0, false: float = 0.0
) -> tuple[object, object, torch.Tensor]:
    before, next_hs, boxes = slots_with_a_track()
    after = next_slots(
        before, np.array([row_places]), np.array([[7, 9]]), next_hs, boxes, np.full((1, 5), 0.5, np.float32),
        drop, false, np.random.default_rng(0),
    )  # fmt: skip
    return before, after, next_hs


def test_tracks_move_on_newborns_join_and_gradient_flows_through_states_only() -> None:
    _, after, next_hs = advance([UNMATCHED, 0, UNMATCHED, UNMATCHED, 1])
    assert sorted(after.ids[0].tolist()) == [EMPTY_SLOT, 7, 9]
    seven, nine = (int(np.flatnonzero(after.ids[0] == i)[0]) for i in (7, 9))
    assert after.hs[0, seven].tolist() == [2, 3] and after.hs[0, nine].tolist() == [8, 9]
    after.hs[0, seven].sum().backward()
    assert next_hs.grad is not None and next_hs.grad[0, 1].tolist() == [1, 1]
    assert not after.boxes.requires_grad


def test_a_hidden_track_waits_as_it_came_until_patience_ends() -> None:
    before, after, _ = advance([UNMATCHED] * 5)
    place = int(np.flatnonzero(after.ids[0] == 7)[0])
    assert after.hs[0, place].tolist() == [3, 4] and after.boxes[0, place].tolist() == pytest.approx(
        [0.3] * 4
    )
    assert after.lost[0, place] == 1
    before, next_hs, boxes = slots_with_a_track()
    before.lost[0, 1] = PATIENCE_FRAMES
    gone = next_slots(
        before, np.full((1, 5), UNMATCHED), np.array([[7, 9]]), next_hs, boxes, np.zeros((1, 5), np.float32),
        0.0, 0.0, np.random.default_rng(0),
    )  # fmt: skip
    assert (gone.ids == EMPTY_SLOT).all()


def test_dropped_tracks_go_and_false_ones_come() -> None:
    _, dropped, _ = advance([UNMATCHED, 0, UNMATCHED, UNMATCHED, 1], drop=1.0)
    assert (dropped.ids == EMPTY_SLOT).all()
    _, crowded, _ = advance([UNMATCHED, 0, UNMATCHED, UNMATCHED, 1], false=1.0)
    assert (crowded.ids == FALSE_TRACK).sum() == 1  # three slots, two of them true tracks'
    assert crowded.valid.sum() == 3


def test_jitter_is_as_wide_as_asked_and_scales_with_the_box() -> None:
    boxes = torch.tensor([0.5, 0.5, 0.2, 0.1]).expand(400, 5, 4)
    moved = jittered(boxes, 0.3, np.random.default_rng(1))
    shift = (moved - boxes)[..., :2] / boxes[..., 2:]
    assert 0.12 < shift.std() < 0.22  # sigma uniform in 0..0.3: 0.3/sqrt(3) = 0.17 over all
    assert (moved[..., 2:] > 0).all()
    assert torch.equal(jittered(boxes, 0.0, np.random.default_rng(1)), boxes)


def row_case(shift: float, logit: float, valid: float = 1.0) -> dict[str, torch.Tensor]:
    true_boxes, true_labels = torch.tensor([[[[0.5, 0.5, 0.2, 0.2]]]]), torch.tensor([[[1]]])
    boxes = torch.tensor([[[0.5 + shift, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    logits = torch.tensor([[[-12.0, logit], [6.0, 6.0]]])
    places = torch.tensor([[[0, UNMATCHED]]])
    layer = LayerOutput(logits, boxes, torch.zeros(1, 2, 4))
    return row_losses([[layer]], places, torch.tensor([[[1.0, valid]]]), true_boxes, true_labels)


def test_row_losses_are_zero_for_the_truth_and_grow_with_the_error() -> None:
    exact = row_case(0.0, 12.0, valid=0.0)
    assert all(float(v) < 1e-3 for v in exact.values())
    off = row_case(0.05, 12.0, valid=0.0)
    assert float(off["l1"]) == pytest.approx(0.05, abs=1e-5)
    assert float(off["giou"]) == pytest.approx(1 - 0.6, abs=1e-5)  # IoU .15/.25; the hull is the union
    # a loud row that answers for nothing costs dearly, unless its slot is empty
    assert float(row_case(0.0, 12.0, valid=1.0)["class"]) > 5


def test_mask_losses_know_a_right_mask_and_ignore_what_lies_outside_the_box() -> None:
    masks = torch.full((1, 8, 8), NOBODY, dtype=torch.uint8)
    masks[0, 2:6, 2:6] = 0
    boxes, places = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]), torch.tensor([[UNMATCHED, 0]])
    features = torch.where(masks == 0, 20.0, -20.0).unsqueeze(1)
    embed = torch.tensor([[[-1.0], [1.0]]])
    right = mask_losses(embed, features, places, boxes, masks)
    assert float(right["mask"]) < 1e-4 and float(right["dice"]) < 1e-3
    features[0, 0, 0, 0] = 20.0  # a mistake far outside the box
    assert mask_losses(embed, features, places, boxes, masks) == right
    wrong = mask_losses(-embed, features, places, boxes, masks)
    assert float(wrong["mask"]) > 5 and float(wrong["dice"]) > 0.9


def test_dense_losses_want_one_centre_at_the_right_cell() -> None:
    true_boxes, true_labels = torch.tensor([[[0.3, 0.6, 0.2, 0.4]]]), torch.tensor([[1]])
    heat = torch.full((1, 2, 8, 16), -12.0)
    heat[0, 1, 4, 4] = 12.0  # the cell that holds (0.3 * 16, 0.6 * 8)
    boxes = true_boxes.expand(1, 8 * 16, 4)
    nothing = torch.zeros(0)

    def losses(heat_logits: torch.Tensor, dense_boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        scene = Scene(heat_logits, dense_boxes, *[nothing] * 6)
        return dense_losses(scene, true_boxes, true_labels)

    right = losses(heat, boxes)
    assert float(right["heat"]) < 1e-3 and float(right["dense"]) < 1e-4
    assert float(losses(heat.flip(3), boxes)["heat"]) > 5
    assert float(losses(heat, boxes + 0.3)["dense"]) > 0.5


def test_the_average_is_young_at_first_and_then_slow() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.9)
    torch.nn.init.ones_(model.weight)
    average.update(model, 0)
    assert average.model.weight.item() == pytest.approx(0.9)
    average.update(model, 10_000)
    assert average.model.weight.item() == pytest.approx(0.91)
