"""A checkpoint in each authors' layout: imported by the command, exported, compiled, run; a wrong one is one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from engines.checkpoints.importing import import_checkpoint
from engines.zoo import open_engine, task_for
from streamer.cli import app
from streamer.errors import EngineError
from tests.fakes.core import frame
from tests.golden.fill import filled_layout
from tests.golden.vit_fill import filled_vit_layout

GOLDEN = Path(__file__).parent.parent / "golden"


def layout(name: str, case: str = "") -> Any:
    found = json.loads((GOLDEN / f"{name}.layout.json").read_text())
    return found[case] if case else found


def tensors(fill: Callable[[Any], Mapping[str, Any]], of: Any) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in fill(of).items()}


# family: where its authors keep the tensors, the tensors, what the reduced ones need besides
CASES: dict[str, tuple[str, Callable[[], dict[str, Tensor]], dict[str, Any]]] = {
    "detr": ("model", lambda: tensors(filled_layout, layout("detr")), {}),
    "trackformer": ("model", lambda: tensors(filled_layout, layout("trackformer_detr")), {}),
    "vit": ("", lambda: tensors(filled_vit_layout, layout("vit")), {}),
    "vtn": (
        "model_state",
        lambda: tensors(filled_vit_layout, layout("vtn")),
        {"heads": 3, "temporal_heads": 3},
    ),
    "setr": ("state_dict", lambda: tensors(filled_vit_layout, layout("setr", "fudan_pup")), {"heads": 2}),
}


@pytest.mark.parametrize("family", CASES)
def test_a_checkpoint_is_imported_compiled_and_run(family: str, tmp_path: Path) -> None:
    place, made, options = CASES[family]
    file = tmp_path / "authors.pth"
    torch.save({place: made()} if place else made(), file)
    out = tmp_path / "models" / "mine.safetensors"
    size = {"detr": "96x64", "trackformer": "96x64", "vit": "64x64"}.get(family)
    if options:
        import_checkpoint(file, family, out, options)
    else:
        arguments = [
            "models",
            "import",
            str(file),
            "--family",
            family,
            "--name",
            "mine",
            "--data-dir",
            str(tmp_path),
        ]
        done = CliRunner().invoke(app, [*arguments, *(("--size", size) if size else ())])
        assert done.exit_code == 0, done.output or done.exception
        assert "all fit" in done.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["parameters"] > 10_000 and card["imported"]["file"] == "authors.pth"
    engine = open_engine(
        str(out), backend="onnx", max_batch_size=1, threads=2, cache_dir=tmp_path / "engines"
    )
    task = task_for(engine.spec)
    shown = dataclasses.replace(frame(), image=np.full((*engine.spec.input_hw, 3), 90, np.uint8))
    state = task.initial_state()
    for _ in range(2):
        outputs = engine.infer(task.preprocess([shown], [state]))
        assert all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f")
        [(payload, state)] = task.postprocess(outputs, [shown], [state])
    assert payload.tracks.detections.boxes_xyxy.shape[1] == 4
    engine.close()


@pytest.mark.parametrize("family", CASES)
def test_a_missing_key_and_a_wrong_shape_are_named_in_one_line(family: str, tmp_path: Path) -> None:
    place, made, options = CASES[family]
    whole = made()
    name = next(n for n in reversed(whole) if whole[n].ndim == 1 and "norm" in n)
    for broken, told in (
        ({n: t for n, t in whole.items() if n != name}, f"1 missing: {name}"),
        ({**whole, name: torch.zeros(3, 5)}, f"1 wrong shape: {name} (3, 5) for"),
        ({**whole, "stranger.weight": torch.zeros(2)}, "1 left over: stranger.weight"),
    ):
        file = tmp_path / "authors.pth"
        torch.save({place: broken} if place else broken, file)
        with pytest.raises(EngineError) as caught:
            import_checkpoint(file, family, tmp_path / "out.safetensors", options)
        assert told in str(caught.value) or (name in str(caught.value) and "stranger" not in told)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.safetensors").exists()
