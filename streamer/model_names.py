"""What may stand behind `model:`, checked without opening anything: a name, `hf://…`, a .safetensors or .onnx file."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

HUB = "hf://"
FORMS = "a name of `sightline models ls`, hf://owner/name, hf://./folder, a .safetensors or an .onnx file"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_LOCAL = ("/", "./", "../", "~")

Wrong = tuple[str, str]


def placed_model(model: str, folder: Path) -> tuple[str, Wrong | None]:
    """The same model with its path made absolute (relative ones start at `folder`), and what is wrong with it.

    What is wrong is (what, mend), None for nothing. Names without a path are for the zoo to know.
    """
    if model.startswith(HUB):
        rest, mark, query = model.removeprefix(HUB).partition("?")
        if not (rest.startswith(_LOCAL) or rest in (".", "..")):
            return model, None if rest else ("the address names no model", f"write {FORMS}")
        path = _absolute(rest, folder)
        wrong = None if path.is_dir() else (f"there is no folder {path}", _FROM_HERE)
        return f"{HUB}{path}{mark}{query}", wrong
    if scheme := _SCHEME.match(model):
        close = difflib.get_close_matches(scheme[1].lower(), ["hf"], n=1, cutoff=0.4)
        return model, (
            f"{scheme[1]}: is no scheme that a model can have",
            f"did you mean {HUB}?" if close else f"write {FORMS}",
        )
    if not ("/" in model or model.endswith((".onnx", ".safetensors"))):
        return model, None
    path = _absolute(model, folder)
    if not path.is_file():
        return str(path), (f"there is no file {path}", _FROM_HERE)
    card = card_of(path)
    if path.suffix == ".onnx" and not card.is_file():
        return str(path), (
            f"its card {card} is missing",
            "write one that says what goes in and comes out (`sightline schema model-card`)",
        )
    return str(path), None


_FROM_HERE = "paths start at the YAML's folder; give one that is there"


def card_of(graph: Path) -> Path:
    """Where the card of a user's own graph lies: beside it, with the same name."""
    return graph.with_suffix(".yaml")


def _absolute(path: str, folder: Path) -> Path:
    return Path((folder / Path(path).expanduser()).absolute())
