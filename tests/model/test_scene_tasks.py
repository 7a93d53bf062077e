"""Maps of classes laid over the source's picture, names of pictures, and both in any batch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from engines.tasks.classify import ClassifyRules, ClassifyTask
from engines.tasks.semantic import UNSEEN, SemanticTask, over_source
from streamer.errors import EngineError
from streamer.ports import EngineSpec, TensorSpec
from streamer.sources.fitting import laid
from streamer.types import Action, Fit, Frame, FrameRef, Hw

HW = (32, 32)
LABELS = ("road", "sky", "car")


def frame(source_hw: Hw = (64, 64), seq: int = 0) -> Frame:
    ref = FrameRef("s", 1, seq, seq, Fraction(1, 25), 0, 1000 + seq)
    return Frame(ref, np.full((*HW, 3), seq, np.uint8), source_hw, 0)


@pytest.mark.parametrize("source_hw", [(64, 64), (36, 64), (64, 36), (480, 640), (3, 200)])
@pytest.mark.parametrize("fit", list(Fit))
def test_a_map_of_the_picture_itself_comes_back_as_the_source(fit: Fit, source_hw: Hw) -> None:
    """The picture's own columns and rows as classes, through the layout of the source and back."""
    h, w = source_hw
    for axis in (0, 1):
        position = np.arange(h)[:, None] * 200 // h if axis == 0 else np.arange(w)[None, :] * 200 // w
        picture = np.broadcast_to(position[..., None], (h, w, 3)).astype(np.uint8)

        def resized(hw: Hw, picture: Any = picture) -> Any:
            ys = (np.arange(hw[0]) * h) // hw[0]
            xs = (np.arange(hw[1]) * w) // hw[1]
            return picture[ys][:, xs]

        seen = laid(resized, source_hw, HW, fit)[..., 0]
        back = over_source(seen, source_hw, HW, fit)
        assert back.dtype == np.uint8 and not back.flags.writeable
        rows, columns = back.shape
        wanted = resized((rows, columns))[..., 0]
        looked = back != UNSEEN
        assert looked.any() and (fit is Fit.CROP or looked.all())
        assert (
            np.abs(back[looked].astype(int) - wanted[looked]).max()
            <= 200 / min(rows if axis == 0 else columns, 32) + 1
        )


def test_a_crop_says_what_it_did_not_see() -> None:
    wide = over_source(np.ones((16, 16), np.uint8), (36, 64), HW, Fit.CROP)
    assert wide.shape == (16, 28)
    assert (wide[:, :6] == UNSEEN).all() and (wide[:, 6:22] == 1).all() and (wide[:, 22:] == UNSEEN).all()
    tall = over_source(np.ones((16, 16), np.uint8), (64, 32), HW, Fit.LETTERBOX)
    assert tall.shape == (16, 8) and (tall == 1).all()


def semantic_spec(output: str, fit: str = "stretch") -> EngineSpec:
    outputs = (TensorSpec(output, (-1, 8, 8), np.dtype(np.uint8)),)
    images = (TensorSpec("images", (-1, *HW, 3), np.dtype(np.uint8)),)
    meta = {"labels": list(LABELS), "config": {"fit": fit}}
    return EngineSpec("setr", "onnx", "f32", "cpu", "0" * 64, images, outputs, 8, meta)


def test_each_picture_gets_its_own_map_whatever_the_batch() -> None:
    task = SemanticTask.from_spec(semantic_spec("map", "pad"))
    assert (task.fit, task.input_hw, task.stateful) == (Fit.PAD, HW, False)
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 3, (4, 8, 8)).astype(np.uint8)
    frames = [frame(hw, i) for i, hw in enumerate([(64, 64), (32, 64), (64, 16), (10, 10)])]
    assert task.preprocess(frames, [None] * 4)["images"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    together = task.postprocess({"map": maps}, frames, [None] * 4)
    order = [2, 0, 3, 1]
    shuffled = task.postprocess({"map": maps[order]}, [frames[i] for i in order], [None] * 4)
    for row, i in enumerate(order):
        [(alone, _)] = task.postprocess({"map": maps[i : i + 1]}, [frames[i]], [None])
        for other in (together[i][0], shuffled[row][0]):
            assert alone.semantic is not None and other.semantic is not None
            assert np.array_equal(alone.semantic, other.semantic)
        assert alone.semantic_names == LABELS and len(alone.tracks) == 0
    assert [p.semantic.shape for p, _ in together if p.semantic is not None] == [
        (8, 8),
        (4, 8),
        (8, 2),
        (8, 8),
    ]
    maps[:] = 9  # the answers are no views of the engine's array
    assert all(p.semantic is not None and p.semantic.max() < 3 for p, _ in together)


def test_logits_are_as_good_as_a_map() -> None:
    task = SemanticTask.from_spec(semantic_spec("logits"))
    logits = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    [(perception, _)] = task.postprocess({"logits": logits}, [frame()], [None])
    assert perception.semantic is not None
    assert np.array_equal(perception.semantic, logits[0].argmax(0))


def test_an_engine_without_a_map_is_refused() -> None:
    with pytest.raises(EngineError, match="draws no map"):
        SemanticTask.from_spec(semantic_spec("pred_boxes"))
    with pytest.raises(EngineError, match="fit 'tile' is unknown"):
        SemanticTask.from_spec(semantic_spec("map", "tile"))
    with pytest.raises(EngineError, match="names nothing"):
        ClassifyTask.from_spec(semantic_spec("feature"))
    with pytest.raises(ValueError):
        SemanticTask(labels=LABELS, input_hw=HW).postprocess({"map": np.zeros((2, 8, 8))}, [frame()], [None])


def test_a_picture_is_named_by_its_likeliest_classes() -> None:
    task = ClassifyTask(labels=LABELS, input_hw=HW, rules=ClassifyRules(top=2, min_score=0.2))
    logits = np.log(np.array([[0.1, 0.6, 0.3], [0.9, 0.05, 0.05], [0.34, 0.33, 0.33]], np.float32))
    frames = [frame(seq=i) for i in range(3)]
    said = task.postprocess({"logits": logits}, frames, [None] * 3)
    assert [[a.name for a in p.actions] for p, _ in said] == [["sky", "car"], ["road"], ["road", "sky"]]
    assert said[0][0].actions[0] == Action("sky", pytest.approx(0.6), None, 1000, 1000)  # type: ignore[arg-type]
    backwards = task.postprocess({"logits": logits[::-1]}, frames[::-1], [None] * 3)
    assert [p.actions for p, _ in backwards[::-1]] == [p.actions for p, _ in said]
    [(alone, _)] = task.postprocess({"logits": logits[1:2]}, frames[1:2], [None])
    assert alone.actions == said[1][0].actions
    assert ClassifyTask.from_spec(semantic_spec("logits")).rules == ClassifyRules()
    huge = np.array([[1e4, -1e4, 0]], np.float32)
    [(sure, _)] = task.postprocess({"logits": huge}, [frame()], [None])
    assert [(a.name, a.score) for a in sure.actions] == [("road", 1.0)]
