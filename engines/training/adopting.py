"""Beginning with another model's weights: what both have is taken over, and what is new starts from noise."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from engines.models.street import Street
from engines.models.street_parts import StreetConfig
from engines.training.new_labels import relabelled
from streamer.errors import EngineError

SHARED = ("widths", "hidden_dim", "heads", "layers", "feed_dim", "fine_dim", "mask_channels")


def adopt(model: Street, given: Street, where: str) -> list[str]:
    """Copies `given`'s tensors into `model` where names and shapes agree, places resized; returns the names left new.

    The models may differ in picture size, in numbers of rows, in heads and in labels. Raises EngineError if they differ
    in more.
    """
    if other := [name for name in SHARED if getattr(model.config, name) != getattr(given.config, name)]:
        raise EngineError(
            f"these weights are of another shape than the preset's model ({', '.join(other)})",
            where=where,
            mend="give the preset they were made with",
        )
    mine = model.state_dict()
    theirs = relabelled(given.state_dict(), mine, given.config, model.config)
    theirs["context.place"] = _resized(theirs["context.place"], given.config, model.config)
    fitting = {n: t for n, t in theirs.items() if n in mine and mine[n].shape == t.shape}
    model.load_state_dict(fitting, strict=False)
    return [name for name in mine if name not in fitting]


def _resized(place: Tensor, old: StreetConfig, new: StreetConfig) -> Tensor:
    """Learned places (1, h*w, D) of one stride-16 grid, drawn on another."""
    before, after = ((c.height // 16, c.width // 16) for c in (old, new))
    if before == after:
        return place
    grid = place.transpose(1, 2).reshape(1, -1, *before)  # (1, h*w, D) -> (1, D, h, w)
    grid = F.interpolate(grid, size=after, mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)
