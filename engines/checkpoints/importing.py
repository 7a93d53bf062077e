"""An authors' checkpoint to a weights file of ours with a card beside it, or one line that says what does not fit."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor, nn

from engines.build.contents import sha256
from engines.checkpoints.fitting import Fitting, fit
from engines.checkpoints.reading import read_checkpoint
from streamer.errors import EngineError

# Family -> whose layout is read.
LAYOUTS: Mapping[str, str] = {
    "detr": "facebookresearch/detr, detection and panoptic",
    "trackformer": "timmeinhardt/trackformer, DETR-based and deformable",
    "vtn": "bomri/SlowFast, projects/vtn",
    "setr": "fudan-zvg/SETR and mmseg: naive, PUP, MLA",
    "vit": "timm",
}


class Layout(Protocol):
    """What a family's module under engines/checkpoints offers."""

    save: Callable[[nn.Module, Path, Mapping[str, str]], None]

    def plan(self, tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting: ...


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it: the weights file and how much is in it."""

    weights: Path
    tensors: int
    parameters: int


def import_checkpoint(file: Path, family: str, out: Path, options: Mapping[str, Any]) -> Imported:
    """Reads `file` as `family`'s authors write it; writes `out` (.safetensors) and its card (.json).

    `options` may hold height, width (pixels of the engine's picture) and labels (names in order). Raises EngineError,
    one line, for an unknown family, an unreadable file, and for tensors missing, left over or of another shape.
    """
    if family not in LAYOUTS:
        raise EngineError(
            f"no layout {family!r} is known", where="--family", mend=f"choose one of {', '.join(LAYOUTS)}"
        )
    layout = cast(Layout, importlib.import_module(f"engines.checkpoints.{family}"))
    tensors = read_checkpoint(file)
    module = fit(layout.plan(tensors, options, where=str(file)), tensors, where=str(file))
    out.parent.mkdir(parents=True, exist_ok=True)
    layout.save(module, out, {"imported_from": file.name})
    parameters = sum(p.numel() for p in module.parameters())
    card = {
        "name": out.stem,
        "parameters": parameters,
        "imported": {"file": file.name, "sha256": sha256(file), "layout": LAYOUTS[family]},
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=1))
    return Imported(out, len(tensors), parameters)
