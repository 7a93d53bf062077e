"""YAML that remembers where each value stood, with `${ENV}` put in.

`read_yaml` gives plain Python data, a map from the path of every value (`("streams", 0, "url")`) to its line (from 1),
and the problems found on the way: broken syntax, a key given twice, an environment variable that is not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path_ = tuple[str | int, ...]

# `$${` is a literal `${`; `${NAME}` must be set; `${NAME:-text}` falls back to the text.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(slots=True)
class YamlProblem:
    """Something wrong at `line` (from 1) in the value at `path`."""

    line: int
    path: Path_
    what: str
    mend: str


@dataclass(slots=True)
class YamlText:
    """What a YAML text said: `data`, the `lines` of its values by path, and its `problems`."""

    data: Any = None
    lines: dict[Path_, int] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def line_of(self, path: Path_) -> int:
        """The line of the value at `path`, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(text: str, environ: Mapping[str, str] | None = None) -> YamlText:
    """Parse one YAML document. Never raises for what the text says: look at `problems`."""
    out = YamlText()
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is not None:
            out.data = _Reader(loader, os.environ if environ is None else environ, out).value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = f"not YAML: {error.problem or error.context}"
        out.problems.append(
            YamlProblem(line, (), what, "check the indentation, quotes and colons around this line")
        )
    except yaml.YAMLError as error:
        out.problems.append(YamlProblem(1, (), f"not YAML: {error}", "save the file as plain UTF-8 text"))
    finally:
        loader.dispose()
    return out


class _Reader:
    """Turns nodes into values, noting the line of each."""

    def __init__(self, loader: yaml.SafeLoader, environ: Mapping[str, str], out: YamlText) -> None:
        self.loader = loader
        self.environ = environ
        self.out = out

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self.out.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        given = {id(key) for key, _ in node.value}
        self.loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        written_here: set[str] = set()
        for key_node, child in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else str(key_node.tag)
            line = key_node.start_mark.line + 1
            if key in written_here and id(key_node) in given:
                mend = "keep one of them"
                self.out.problems.append(YamlProblem(line, (*path, key), "this key is given twice", mend))
                continue
            if id(key_node) in given:
                written_here.add(key)
            self.out.lines[(*path, key)] = line
            found[key] = self.value(child, (*path, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path_) -> Any:
        text = _VARIABLE.sub(lambda match: self._variable(match, node, path), node.value)
        if text != node.value:
            # A plain `${PORT}` becomes the number it holds; a quoted one stays text.
            plain = node.style is None
            tag = self._tag(text) if plain else node.tag
            node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            line = node.start_mark.line + 1
            self.out.problems.append(
                YamlProblem(line, path, f"cannot be read as {node.tag}", "put quotes around the value")
            )
            return None

    def _tag(self, text: str) -> str:
        return str(self.loader.resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call]

    def _variable(self, match: re.Match[str], node: yaml.ScalarNode, path: Path_) -> str:
        literal, name, default = match.groups()
        if literal:
            return "${"
        if name in self.environ:
            return self.environ[name]
        if default is not None:
            return str(default)
        line = node.start_mark.line + 1
        mend = f"export {name}=… before the start, or write ${{{name}:-default}}"
        self.out.problems.append(YamlProblem(line, path, f"the environment variable {name} is not set", mend))
        return ""
