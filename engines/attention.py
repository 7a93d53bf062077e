"""The second engine: the model that is served, its weights and rows, with where it looked as outputs.

It is built, compared and cached as every engine is, under a digest of its own, when somebody first asks. The served
engine has no attention among its outputs, and pays nothing for being asked about.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.backends.registry import Lanes
from engines.build import Family, Recipe, ensure_built, load
from engines.build.precision import EXACT, resolve_for
from engines.tasks.asked import NEAR, looks_of, row_of
from engines.tasks.detect import DetectTask
from engines.tasks.track import TrackTask
from engines.zoo import found, task_for
from streamer.errors import EngineError, ParityError
from streamer.ports import Engine, EngineSpec, Looks
from streamer.types import F32, Frame, Hw

# Of a family: the loader of its variant that tells its attention, and what of it may run in 16 bits. The street model's
# context is called past its hooks there, so that its weights can be seen, and stays in float32 where types are strong.
_LOADERS = {
    "street": ("engines.models.street_attention:load_street_attention", ("backbone", "pyramid")),
    "detr": ("engines.models.detr:load_detr?attention=last", ("backbone", "input_proj")),
}
MAX_BATCH_SIZE = 1  # a question is about one frame
QUIET_DEADLINE_S = 6 * 3600.0  # a build beside streams may wait for a quieter hour


def can_show(spec: EngineSpec) -> bool:
    """Whether a served engine's model has attention to show."""
    return can_show_family(str(spec.meta.get("family")))


def can_show_family(family: str) -> bool:
    """Whether models of this family have attention to show."""
    return family in _LOADERS


def attention_family(family: Family, model: str) -> Family:
    """The family as it is built to tell its attention. Raises EngineError for one that has none to show."""
    if family.name not in _LOADERS:
        raise EngineError(
            f"model {model} has no attention to show",
            mend=f"models of the families {' and '.join(_LOADERS)} have",
        )
    loader, parts = _LOADERS[family.name]
    return dataclasses.replace(family, loader=loader, stages="", low_precision_parts=parts, heads=())


def attention_recipe(model: str, *, backend: str, precision: str) -> Recipe:
    """What `open_attention` would build for a model that `found` knows, on one thread. Raises EngineError."""
    name, weights, family = found(model)
    family = attention_family(family, name)
    return Recipe(
        name=f"{name}-attention",
        weights=weights,
        family=family,
        backend=backend,
        precision=resolve_for(family, backend, precision),
        max_batch_size=MAX_BATCH_SIZE,
        lanes=Lanes.of(1, 1),
    )


def open_attention(
    model: str,
    *,
    backend: str,
    precision: str,
    cache_dir: Path,
    on_progress: Callable[[str], None] | None = None,
    hurry: threading.Event | None = None,
) -> AttentionEngine:
    """The second engine of a served model: `backend` and `precision` are those of the first one.

    Where 16 bits are refused by the gate it is built in float32. With `hurry` it is built beside all else, as
    `ensure_built` does. Raises EngineError or ParityError, one line.
    """
    how: dict[str, Any] = {} if hurry is None else {"hurry": hurry, "deadline_s": QUIET_DEADLINE_S}
    recipe = attention_recipe(model, backend=backend, precision=precision)
    try:
        artefact = ensure_built(recipe, cache_dir, on_progress, **how)
    except ParityError:
        if recipe.precision == EXACT:
            raise
        exact = attention_recipe(model, backend=backend, precision=EXACT)
        artefact = ensure_built(exact, cache_dir, on_progress, **how)
    # Its rows are compared with boxes of the served precision, whatever its own.
    return AttentionEngine(load(artefact), NEAR[precision])


class AttentionEngine:
    """Implements `streamer.ports.Explainer`. `near`: how far a row's box may be from the track's, in sizes of it."""

    def __init__(self, engine: Engine, near: float = NEAR[EXACT]) -> None:
        task = task_for(engine.spec)
        assert isinstance(task, TrackTask | DetectTask)
        self.engine, self.task, self._near = engine, task, near
        config = engine.spec.meta["config"]
        self._grids = _grids(engine.spec.meta["family"], config, engine.spec.input_hw)
        self.layer = _layer(engine.spec.meta["family"], config)

    def looks(self, frame: Frame, before: Any, track_id: int, box_xyxy: F32) -> Looks:
        """Where the query of this track looked; see `streamer.ports.Explainer`."""
        answer, row, _ = self.asked(frame, before, track_id, box_xyxy)
        return looks_of(answer, row, self._grids, self.task.input_hw, frame.source_hw, self.task.fit)

    def asked(
        self, frame: Frame, before: Any, track_id: int, box_xyxy: F32
    ) -> tuple[dict[str, Any], int, F32]:
        """The frame's answer again (no batch dimension), the row that gave the track, and that row's box (4,) px."""
        outputs = self.engine.infer(self.task.preprocess([frame], [before]))
        answer = {name: rows[0] for name, rows in outputs.items()}
        row, box = row_of(self.task, answer["pred_boxes"], frame, before, track_id, box_xyxy, near=self._near)
        return answer, row, box

    def close(self) -> None:
        self.engine.close()


def _grids(family: str, config: dict[str, Any], input_hw: Hw) -> tuple[Hw, Hw]:
    """Rows and columns of the tokens that the decoder's rows and the encoder's look at; every halving rounds up."""

    def at(stride: int) -> Hw:
        return -(-input_hw[0] // stride), -(-input_hw[1] // stride)

    if family == "street":
        return at(8), at(16)
    stride = 16 if config.get("dilation") else 32
    return at(stride), at(stride)


def _layer(family: str, config: dict[str, Any]) -> str:
    if family == "street":
        last, first = config["layers"], "the encoder's at stride 16"
    else:
        last, first = config["decoder_layers"], f"{config['encoder_layers']} of the encoder"
    return f"{last} of the decoder and {first}, mean over {config['heads']} heads"
