"""VTN cut in two where the state comes in: `look` reads a picture, `follow` reads its feature with those before it.

`look` is nearly all of the work (16.9 of 17.4 GFLOP at the published size) and needs no state, so frames of any streams
share its batch. A frame's place in time goes through `look` untouched: what `follow` needs of a frame comes from there.
One after the other the stages are exactly `Vtn.forward`.
"""

from __future__ import annotations

from torch import Tensor, nn

from engines.models.vtn import Vtn

LOOK_INPUTS = ("images", "tick")
LOOK_OUTPUTS = ("feature", "position")
FOLLOW_INPUTS = ("feature", "position", "ring", "ring_positions", "ring_valid")
FOLLOW_OUTPUTS = ("logits", "next_feature")


class VtnLook(nn.Module):
    """Pictures to features. No state, no order."""

    def __init__(self, vtn: Vtn) -> None:
        super().__init__()
        self.vtn = vtn

    def forward(self, images: Tensor, tick: Tensor) -> tuple[Tensor, Tensor]:
        """`images` u8 (B, H, W, 3) RGB, `tick` i64 (B,) to feature f32 (B, D) and position i64 (B,): `tick`."""
        return self.vtn.see(images), tick + 0  # an output of the graph's own, which may not be its input


class VtnFollow(nn.Module):
    """One frame's feature and the ring before it to class logits."""

    def __init__(self, vtn: Vtn) -> None:
        super().__init__()
        self.vtn = vtn

    def forward(
        self, feature: Tensor, position: Tensor, ring: Tensor, ring_positions: Tensor, ring_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Shapes as in `Vtn.forward`; to logits (B, C) and next_feature (B, D), the feature again, for the ring."""
        logits = self.vtn.follow(feature, position, ring, ring_positions, ring_valid)
        return logits, feature + 0.0


def cut(vtn: nn.Module) -> tuple[VtnLook, VtnFollow]:
    """Both stages of a loaded model, sharing its weights."""
    assert isinstance(vtn, Vtn)
    return VtnLook(vtn).eval(), VtnFollow(vtn).eval()
