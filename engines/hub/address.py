"""`hf://…` read: which model, which version of it, and what the user would have otherwise than its own files say.

hf://facebook/detr-resnet-50             a repository of the hub, from its cache on this machine
hf://facebook/detr-resnet-50@no_timm     a branch, tag or commit of it
hf:///srv/models/detr    hf://./detr     a folder
hf://./detr?height=480&width=640         analyse pictures of that size
hf://./detr?threshold=0.7                tell what scores above that
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from streamer.errors import EngineError

SCHEME = "hf://"
OPTIONS = ("height", "width", "threshold")

_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
MOST_PX = 4096


@dataclass(frozen=True, slots=True)
class Address:
    """A model by `folder`, or by `repository` and `revision` (empty: the default branch); `options` by name."""

    text: str
    folder: Path | None = None
    repository: str = ""
    revision: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part, as engines, results and metrics name it."""
        last = self.folder.resolve().name if self.folder else self.repository.rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9._-]", "-", last) or "model"


def parse(text: str) -> Address:
    """Raises EngineError, one line, if no model can have this address. Nothing is opened."""
    rest, _, query = text.removeprefix(SCHEME).partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in OPTIONS:
            raise _refused(text, f"{name} is no option of a model", f"the options are {', '.join(OPTIONS)}")
        _check(text, name, value)
    if ("height" in options) != ("width" in options):
        raise _refused(text, "half a size", "give height and width, as in ?height=480&width=640")
    if rest.startswith(("/", "./", "../", "~")) or rest in (".", ".."):
        return Address(text, folder=Path(rest).expanduser(), options=options)
    repository, at, revision = rest.partition("@")
    if not _REPOSITORY.match(repository) or (at and not revision):
        raise _refused(text, "this names no model", "write hf://owner/name, or hf://./folder for a local one")
    return Address(text, repository=repository, revision=revision, options=options)


def _check(text: str, name: str, value: str) -> None:
    if name == "threshold":
        try:
            good = 0 <= float(value) <= 1
        except ValueError:
            good = False
        if not good:
            raise _refused(text, "threshold is no score", "give a number from 0 to 1")
    elif not (value.isascii() and value.isdigit() and 16 <= int(value) <= MOST_PX):
        raise _refused(text, f"{name} is no size of a picture", f"give pixels, 16 to {MOST_PX}")


def _refused(text: str, what: str, mend: str) -> EngineError:
    return EngineError(what, where=text, mend=mend)
