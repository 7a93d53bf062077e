"""What may be asked of a burned-in picture: which layers, how wide, how good. The layers have the page's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from web.problems import Refused

# In the page's order, see `web/static/layers.js`; its `attention` is of one question, and so of no stream of pictures.
LAYERS: Final = ("boxes", "labels", "ids", "masks", "trails", "skeletons", "ground", "actions", "zones")
SHOWN: Final = frozenset(LAYERS) - {"ground"}  # where nothing is said, as on the page
NONE: Final[frozenset[str]] = frozenset()
_OF_THE_STREAM: Final = frozenset({"zones"})  # all others come from a result


@dataclass(frozen=True, slots=True)
class Look:
    """How a viewer wants its pictures: `width` px (0: the picture's own), `layers` of LAYERS, JPEG `quality` 1..100."""

    width: int = 0
    layers: frozenset[str] = SHOWN
    quality: int = 80

    @property
    def of_results(self) -> bool:
        """Whether it shows anything that a result tells, and so waits for the result."""
        return not self.layers <= _OF_THE_STREAM


def layers_of(text: str | None, *, overlay: bool) -> frozenset[str]:
    """The layers of `boxes,ids`; None: the page's. Without `overlay` none. Raises Refused 422 for a name unknown."""
    if not overlay:
        return NONE
    if text is None:
        return SHOWN
    named = [name for part in text.split(",") if (name := part.strip())]
    for name in named:
        if name not in LAYERS:
            raise Refused(422, f"no layer {name[:40]!r}", where="layers", mend=f"of {', '.join(LAYERS)}")
    return frozenset(named)
