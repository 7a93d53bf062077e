"""What a model's folder says of it, read without torch: task, names of classes, size and preprocess of its pictures.

Two files of the hub's layout are read: `config.json` (the network) and `preprocessor_config.json` (the pictures it was
trained on). A model that was trained on pictures of any size, "short side 800, long side at most 1333", gets one
size here, since an engine's picture has one: the largest of 16:9 within those limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import EngineError
from streamer.types import Hw

DETECT, SEMANTIC = "detect", "semantic"
_TASKS = {"ForObjectDetection": DETECT, "ForSemanticSegmentation": SEMANTIC}
_CONFIG, _PREPROCESS = "config.json", "preprocessor_config.json"

ASPECT = 16 / 9
STEP_PX = 32  # the coarsest grid among the backbones: sizes chosen here are multiples of it

# One stage, learned queries: row i of an answer is query i. All others may choose their rows by a top-k.
FIXED_QUERIES = frozenset(
    {"conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer", "yolos"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A model as its files describe it.

    `labels` by class number; `input_hw` px; `keeps_aspect`: trained on pictures that were not stretched. Pixels times
    `scale`, minus `mean`, by `std` (RGB) is what the network takes. `fixed_queries`: see FIXED_QUERIES.
    """

    task: str
    model_type: str
    labels: tuple[str, ...]
    input_hw: Hw
    keeps_aspect: bool
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_queries: bool


def read(folder: Path) -> Reading:
    """Raises EngineError, one line with file and field, for what is missing, broken or not served here."""
    config, pictures = _json(folder / _CONFIG), _json(folder / _PREPROCESS)
    task = _task(config, folder / _CONFIG)
    height_width, keeps_aspect = _size(pictures, folder / _PREPROCESS)
    normalise = pictures.get("do_normalize", True)
    rescale = pictures.get("do_rescale", True)
    return Reading(
        task=task,
        model_type=str(config.get("model_type", "")),
        labels=_labels(config, folder / _CONFIG),
        input_hw=height_width,
        keeps_aspect=keeps_aspect,
        scale=float(pictures.get("rescale_factor", 1 / 255)) if rescale else 1.0,
        mean=_three(pictures, "image_mean", folder) if normalise else (0.0, 0.0, 0.0),
        std=_three(pictures, "image_std", folder) if normalise else (1.0, 1.0, 1.0),
        fixed_queries=config.get("model_type") in FIXED_QUERIES and not config.get("two_stage", False),
    )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise EngineError(
            "the file is missing", where=str(path), mend="copy it from where the model was published"
        ) from None
    except (OSError, ValueError) as error:
        raise EngineError(f"cannot be read: {error}", where=str(path)) from None
    if not isinstance(found, dict):
        raise EngineError("not a JSON object", where=str(path))
    return found


def _task(config: Mapping[str, Any], path: Path) -> str:
    names = [str(name) for name in config.get("architectures") or ()]
    for name in names:
        for ending, task in _TASKS.items():
            if name.endswith(ending):
                return task
    raise EngineError(
        f"{names[0] if names else 'a model without a class'} neither detects objects nor segments by class",
        where=f"{path}: architectures",
        mend=f"served are classes that end in {' or '.join(_TASKS)}",
    )


def _labels(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """By class number; a number without a name is `N/A`, as in COCO's list with its holes."""
    try:
        names = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
    except (ValueError, AttributeError):
        raise EngineError("not a mapping of numbers to names", where=f"{path}: id2label") from None
    if not names:
        raise EngineError(
            "the classes have no names", where=f"{path}: id2label", mend='add "id2label": {"0": "person", …}'
        )
    return tuple(names.get(i, "N/A") for i in range(max(names) + 1))


def _size(pictures: Mapping[str, Any], path: Path) -> tuple[Hw, bool]:
    """The engine's picture, and whether the aspect was kept in training."""
    size: Any = pictures.get("size")
    try:
        match size:
            case {"height": height, "width": width}:
                return (int(height), int(width)), False
            case {"shortest_edge": short}:
                return _widescreen(int(short), int(size.get("longest_edge") or 0)), True
            case {"longest_edge": long}:
                return _widescreen(int(long), int(long)), True
            case int():  # older files: a short side, and `max_size` for the long one
                return _widescreen(size, int(pictures.get("max_size") or 0)), True
            case [height, width]:
                return (int(height), int(width)), False
    except (TypeError, ValueError):
        pass
    raise EngineError(
        "no size of pictures that is understood",
        where=f"{path}: size",
        mend="give one, as in hf://…?height=480&width=640",
    )


def _widescreen(short: int, long: int) -> Hw:
    """The largest 16:9 picture with these sides, in steps of STEP_PX; `long` 0 is no limit."""
    height = min(short, long / ASPECT) if long else short
    return _stepped(height), _stepped(height * ASPECT)


def _stepped(side: float) -> int:
    return max(STEP_PX, int(side) // STEP_PX * STEP_PX)


def _three(pictures: Mapping[str, Any], field: str, folder: Path) -> tuple[float, float, float]:
    try:
        r, g, b = (float(value) for value in pictures[field])
    except (KeyError, TypeError, ValueError):
        raise EngineError(
            "not three numbers",
            where=f"{folder / _PREPROCESS}: {field}",
            mend="one each for red, green, blue",
        ) from None
    return r, g, b
