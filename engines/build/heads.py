"""Which heads an engine has: all that its weights have, or those that were asked for. Boxes and tracks are always on.

A head that is left out is not computed: its family's loader is told to leave it out, so that graph, reference and
digest all follow from the recipe. Asking for all that the weights have is asking for nothing in particular, and finds
the same engine. No torch here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from engines.build.recipe import Family
from streamer.errors import EngineError


def heads_of(family: Family, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads that weights with this config have, in the family's order."""
    return tuple(head.name for head in family.heads if config.get(head.field, head.always))


def with_heads(family: Family, config: Mapping[str, Any], asked: Sequence[str] | None, where: str) -> Family:
    """The family as it is built with the heads `asked` for; None is all that the weights have.

    Raises EngineError, one line, for a head that the family or these weights have not got.
    """
    if asked is None:
        return family
    have = heads_of(family, config)
    known = [head.name for head in family.heads]
    for name in asked:
        if name in have:
            continue
        if not known:
            raise EngineError(
                f"models of the {family.name} family have no heads to choose from",
                where=where,
                mend="leave heads out",
            )
        what = f"there is no head {name!r}" if name not in known else f"these weights have no head {name!r}"
        raise EngineError(what, where=where, mend=f"the heads here are {', '.join(have) or 'none'}")
    absent = [head.field for head in family.heads if head.name in have and head.name not in asked]
    if not absent:
        return family
    return dataclasses.replace(family, loader=f"{family.loader}?without={','.join(absent)}")
