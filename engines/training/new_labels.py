"""A model with other labels: what knows the old ones is carried over label by label, a new label starts from noise.

Which tensors know the labels, and along which dimension, is found by making the model once more with one label more; so
a head that comes later needs no word here. Along such a dimension of size g * (lead + C) lie g groups (heads, say), of
which the last C entries are the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from engines.models.street import Street
from engines.models.street_parts import StreetConfig


def relabelled(
    theirs: Mapping[str, Tensor], mine: Mapping[str, Tensor], old: StreetConfig, new: StreetConfig
) -> dict[str, Tensor]:
    """`theirs`, of a model with `old` labels, as a model with `new` ones wants them; labels are known by their names.

    What only `mine` says (the new labels' entries) is taken from there.
    """
    if old.labels == new.labels:
        return dict(theirs)
    pairs = [(old.labels.index(name), place) for place, name in enumerate(new.labels) if name in old.labels]
    source, target = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    out = dict(theirs)
    for name, (dim, groups) in _of_labels(old).items():
        before = theirs[name].movedim(dim, 0)
        after = mine[name].detach().clone().movedim(dim, 0)
        was = before.reshape(groups, -1, *before.shape[1:])  # (g * (lead + C), …) -> (g, lead + C, …)
        now = after.reshape(groups, -1, *after.shape[1:]).clone()
        lead = was.shape[1] - len(old.labels)
        now[:, :lead] = was[:, :lead]
        now[:, lead + target] = was[:, lead + source]
        out[name] = now.flatten(0, 1).movedim(0, dim).contiguous()
    return out


def _of_labels(config: StreetConfig) -> dict[str, tuple[int, int]]:
    """Each tensor that has a place for every label: along which dimension, and in how many groups."""
    with torch.device("meta"):
        few = Street(config).state_dict()
        more = Street(replace(config, labels=(*config.labels, "one more"))).state_dict()
    found = {}
    for name, tensor in few.items():
        for dim, (a, b) in enumerate(zip(tensor.shape, more[name].shape, strict=True)):
            if a != b:
                found[name] = dim, b - a
    return found
