"""Their tensors against our module: each of ours must be there, of its shape, and none of theirs may be left over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from streamer.errors import EngineError


@dataclass(frozen=True, slots=True)
class Taken:
    """One of our tensors is made of one of theirs: `name` in their file, `make` the change, None for none."""

    name: str
    make: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Fitting:
    """A module, what its tensors are called by the authors, and which of theirs serve nothing (as regular expressions).

    `names` need only hold what is called otherwise; the rest is taken by its own name.
    """

    module: nn.Module
    names: Mapping[str, str | Taken] = field(default_factory=dict)
    unused: Sequence[str] = ()


def fit(fitting: Fitting, tensors: Mapping[str, Tensor], *, where: str) -> nn.Module:
    """Loads their tensors into the module, in eval mode.

    Raises EngineError, one line in the authors' own names, that says what is missing, of another shape or left over.
    """
    ours = {name: t for name, t in fitting.module.state_dict().items() if t.is_floating_point()}
    taken = {name: _taken(fitting.names.get(name, name)) for name in ours}
    ready: dict[str, Tensor] = {}
    missing, reshaped = [], []
    for name, want in ours.items():
        source = taken[name]
        if source.name not in tensors:
            missing.append(source.name)
            continue
        tensor = tensors[source.name]
        try:
            made = source.make(tensor) if source.make else tensor
        except (RuntimeError, IndexError, ValueError):
            reshaped.append(f"{source.name} {tuple(tensor.shape)}")
            continue
        if made.shape != want.shape:
            reshaped.append(f"{source.name} {tuple(made.shape)} for {tuple(want.shape)}")
        else:
            ready[name] = made
    used = {source.name for source in taken.values()}
    spare = re.compile("|".join(f"(?:{p})" for p in fitting.unused)) if fitting.unused else None
    left_over = [n for n in tensors if n not in used and not (spare and spare.fullmatch(n))]
    wrong = "; ".join(
        f"{len(names)} {what}: {', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("wrong shape", reshaped), ("left over", left_over))
        if names
    )
    if wrong:
        raise EngineError(
            wrong, where=where, mend="give a checkpoint of this family's layout, or another --family"
        )
    fitting.module.load_state_dict(ready, strict=False)  # only counters stay at their default
    return fitting.module.eval()


def _taken(source: str | Taken) -> Taken:
    return Taken(source) if isinstance(source, str) else source
