"""One record of a JSON file, read field by field: what is missing or of the wrong kind becomes a line of Mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.training.mistakes import Mistakes


class Record:
    """A JSON object and where it stands, such as `instances.json: annotations[3]`."""

    def __init__(self, fields: dict[str, Any], where: str, mistakes: Mistakes) -> None:
        self.fields, self.where, self._mistakes = fields, where, mistakes

    def wrong(self, field: str, what: str, mend: str) -> None:
        """Notes a mistake of this record's `field`."""
        self._mistakes.add(what, f"{self.where}.{field}", mend)

    def _given(self, field: str, mend: str) -> Any:
        value = self.fields.get(field)
        if value is None:
            self.wrong(field, "is missing", f'add "{field}": {mend}')
        return value

    def whole(self, field: str, low: int | None = None) -> int | None:
        """A whole number, at least `low`; None if it is not there, which was noted."""
        mend = "a whole number" if low is None else f"a whole number from {low} up"
        value = self._given(field, mend)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or (low is not None and value < low):
            self.wrong(field, f"{_shown(value)} is not {mend}", f"write {mend}")
            return None
        return value

    def text(self, field: str) -> str | None:
        """Text that is not empty; None if it is not there, which was noted."""
        value = self._given(field, "text")
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self.wrong(field, f"{_shown(value)} is not text", "write it in quotes")
            return None
        return value

    def numbers(self, field: str, count: int) -> list[float] | None:
        """`count` finite numbers; None if they are not there, which was noted."""
        mend = f"a list of {count} numbers"
        value = self._given(field, mend)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != count or not are_numbers(value):
            self.wrong(field, f"{_shown(value)} is not {mend}", f"write {mend}")
            return None
        return [float(x) for x in value]


def are_numbers(values: Sequence[Any]) -> bool:
    """All are finite numbers."""
    return all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in values)


def records(
    tree: dict[str, Any], field: str, name: str, mistakes: Mistakes, needed: bool = True
) -> list[Record]:
    """The objects of the list `tree[field]` of file `name`; what is no object is noted."""
    value = tree.get(field)
    if value is None and not needed:
        return []
    if not isinstance(value, list):
        what = "is missing" if value is None else "is not a list"
        mistakes.add(what, f"{name}: {field}", f'write "{field}": [{{…}}, …]')
        return []
    found = []
    for i, fields in enumerate(value):
        if isinstance(fields, dict):
            found.append(Record(fields, f"{name}: {field}[{i}]", mistakes))
        else:
            mistakes.add("is not an object", f"{name}: {field}[{i}]", "write {…}")
    return found


def read_json(path: Path, mistakes: Mistakes) -> dict[str, Any] | None:
    """The object of a JSON file; None if there is none, which was noted with its line."""
    try:
        tree = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        what, where = f"is no JSON: {error.msg}", f"{path}: line {error.lineno}, column {error.colno}"
        mistakes.add(what, where, "export the file again, or mend that line")
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        mistakes.add(f"cannot be read: {error}", str(path), "export the file again")
    else:
        if isinstance(tree, dict):
            return tree
        mistakes.add("holds no JSON object", str(path), 'write {"images": …, "annotations": …}')
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "…"
