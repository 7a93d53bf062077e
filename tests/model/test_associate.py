"""Association: the same ids as the kept library, state that is a value, streams that never meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from engines.tasks.associate import AssociationRules, AssociationState, Associator
from streamer.errors import EngineError
from streamer.types import Detections, MaskRLE, Tracks

GOLDEN = Path(__file__).parent.parent / "golden" / "bytetrack.npz"
# As tests/golden/make_bytetrack.py told the library.
RULES = AssociationRules(sure=0.5, birth=0.6, overlap=0.1, patience=8, confirm=2)


def at(lefts: Sequence[float], scores: Sequence[float] | None = None, size: float = 40) -> Detections:
    """Squares in a row of the picture, by their left edges."""
    x = np.array(lefts, np.float32)
    boxes = np.stack([x, np.full_like(x, 10), x + size, np.full_like(x, 10 + size)], axis=1).reshape(-1, 4)
    score = np.full(len(x), 0.9) if scores is None else np.array(scores)
    return Detections(boxes, score.astype(np.float32), np.arange(len(x)))


def run(frames: Sequence[Detections], rules: AssociationRules = RULES) -> list[Tracks]:
    associator = Associator(rules)
    state, told = associator.initial_state(), []
    for frame in frames:
        tracks, state = associator.associate(frame, state)
        told.append(tracks)
    return told


@pytest.mark.parametrize("scene", range(3))
def test_the_ids_are_the_librarys(scene: int) -> None:
    with np.load(GOLDEN) as golden:
        boxes, scores, ids = (golden[f"{name}{scene}"] for name in ("boxes", "scores", "ids"))
    associator = Associator(RULES)
    state = associator.initial_state()
    for t in range(len(boxes)):
        given = np.flatnonzero(scores[t] > 0)
        tracks, state = associator.associate(Detections(boxes[t, given], scores[t, given], given), state)
        want = {int(i): int(ids[t, i]) + 1 for i in given if ids[t, i] >= 0}  # theirs count from 0
        assert dict(zip(tracks.detections.labels.tolist(), tracks.track_ids.tolist(), strict=True)) == want
    assert state.next_id - 1 == ids.max() + 1 >= 9


def test_a_track_is_told_once_confirmed_and_its_age_counts_from_birth() -> None:
    told = run([at([10]), at([12]), at([14]), at([16])])
    assert [t.track_ids.tolist() for t in told] == [[], [1], [1], [1]]
    assert [t.ages.tolist() for t in told] == [[], [1], [2], [3]]


def test_a_hidden_object_keeps_its_id_for_as_long_as_patience() -> None:
    seen, away = [at([10]), at([12])], [at([])] * RULES.patience
    assert run([*seen, *away, at([14])])[-1].track_ids.tolist() == [1]
    later = run([*seen, *away, at([]), at([14]), at([16])])
    assert later[-1].track_ids.tolist() == [2]


def test_a_low_score_keeps_a_track_and_starts_none() -> None:
    told = run([at([10]), at([12]), at([14, 300], [0.2, 0.2]), at([16, 300], [0.2, 0.2])])
    assert [t.track_ids.tolist() for t in told[2:]] == [[1], [1]]
    assert told[-1].detections.scores.tolist() == pytest.approx([0.2])


def test_detections_come_back_in_order_with_their_masks() -> None:
    masks = (MaskRLE((2, 2), (4,)), MaskRLE((2, 2), (0, 4)))
    frame = at([10, 200])
    with_masks = Detections(frame.boxes_xyxy, frame.scores, frame.labels, masks)
    told = run([at([10]), at([10, 200]), with_masks])[-1]
    assert told.track_ids.tolist() == [1, 2] and told.detections.masks == masks
    lone = run([at([200]), at([200]), with_masks])[-1]  # the first is not confirmed yet
    assert lone.track_ids.tolist() == [1] and lone.detections.masks == masks[1:]


def test_no_detections_and_no_tracks() -> None:
    [told] = run([at([])])
    assert len(told) == 0 and told.detections.boxes_xyxy.shape == (0, 4)


def test_state_is_a_value_and_one_streams_reset_leaves_the_others_alone() -> None:
    associator = Associator(RULES)
    frames = [at([10 + 3 * t, 200 - 2 * t]) for t in range(6)]
    a = b = associator.initial_state()
    alone = [t.track_ids.tolist() for t in run(frames)]
    for t, frame in enumerate(frames):
        before = {f.name: np.array(getattr(a, f.name)) for f in fields(AssociationState)}
        first, after = associator.associate(frame, a)
        again, _ = associator.associate(frame, a)  # the same state gives the same answer
        assert first.track_ids.tolist() == again.track_ids.tolist() == alone[t]
        assert all(np.array_equal(before[name], getattr(a, name)) for name in before)
        if t == 3:
            b = associator.initial_state()
        told, b = associator.associate(frame, b)
        assert told.track_ids.tolist() == ([] if t in (0, 3) else [1, 2])
        a = after
    with pytest.raises(ValueError, match="read-only"):
        a.ids[0] = 7


def test_rules_of_a_card() -> None:
    assert AssociationRules.from_meta({"patience": 3}).patience == 3
    with pytest.raises(EngineError, match=r"'pateince' — the rules are .*patience"):
        AssociationRules.from_meta({"pateince": 3})
