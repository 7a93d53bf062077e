"""Mistakes in a YAML file, each as one line with file, line, field and mend; all of a file's at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import ErrorDetails

from streamer.errors import ConfigError
from streamer.yaml_lines import Path_

_TYPES = {
    "string_type": "text",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "path_type": "a path",
}


class ConfigFileError(ConfigError):
    """All mistakes of one file: `problems` holds each as a ConfigError, str() has one line for each."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{len(self.problems)} mistakes")

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def field_name(path: Path_) -> str:
    """The path of a value as users write it: `streams.door.url`."""
    return ".".join(str(part) for part in path)


def place(detail: ErrorDetails) -> Path_:
    """Where pydantic found it; a finding about several values names the one (`at`, from there)."""
    return (*detail["loc"], *detail.get("ctx", {}).get("at", ()))


def said_plainly(
    detail: ErrorDetails, known: Iterable[str], types: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """(what is wrong, how to mend it) for one of pydantic's findings; never shows the value, it may be a secret.

    `known` are the keys that may stand where this one does; `types` says what to write for a wrong type, by pydantic's
    name of the finding, beyond the plain ones.
    """
    kind, context = detail["type"], detail.get("ctx", {})
    path = tuple(detail["loc"])
    wanted = {**_TYPES, **(types or {})}
    if kind == "extra_forbidden":
        names = list(known)
        close = difflib.get_close_matches(str(path[-1]), names, n=1)
        return "unknown key", f"did you mean {close[0]}?" if close else f"known keys: {', '.join(names)}"
    if kind == "missing":
        return f"{path[-1]} is missing", f"add {path[-1]}: …"
    if kind in ("bad_url", "bad_hash", "bad_host", "bad_region"):
        return str(context["what"]), str(context["mend"])
    if kind in wanted:
        return "wrong type", f"write {wanted[kind]}"
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        return "not one of the choices", f"write {context.get('expected') or context.get('expected_tags')}"
    if kind == "union_tag_not_found":
        return "kind is missing", "add kind: detr, boxes or yolo"
    message = detail["msg"]
    return "out of range", message[0].lower() + message[1:]
