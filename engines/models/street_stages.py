"""The street model cut in two where the state comes in: `look` sees a picture, `follow` decodes it with the tracks.

`look` (three quarters of the work) needs no state, so frames of one stream may share its batch or run ahead of the
tracker on another core; only `follow` must wait for the frame before. One after the other they are exactly
`Street.forward`.
"""

from __future__ import annotations

from torch import Tensor, nn

from engines.models.street import Scene, Street

LOOK_INPUTS = ("images",)
LOOK_OUTPUTS = ("tokens", "evidence", "seed_features", "seed_boxes", "mask_features")
FOLLOW_INPUTS = (
    "tokens",
    "evidence",
    "seed_features",
    "seed_boxes",
    "track_hs",
    "track_boxes",
    "track_valid",
)
FOLLOW_OUTPUTS = ("pred_logits", "pred_boxes", "mask_embed", "next_hs")


class StreetLook(nn.Module):
    """Pictures to what the decoder needs of them. No state, no order: any frames may share a batch."""

    def __init__(self, street: Street) -> None:
        super().__init__()
        self.street = street

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`images` u8 (B, H, W, 3) RGB to LOOK_OUTPUTS: tokens (B, S, D), evidence (B, S, 4 + C), seed_features
        (B, Q, fine_dim), seed_boxes (B, Q, 4) cxcywh in 0..1, mask_features (B, M, H/2, W/2), all f32."""
        seen = self.street.see(images)
        return seen.tokens, seen.evidence, seen.seed_features, seen.seed_boxes, seen.mask_features


class StreetFollow(nn.Module):
    """One frame of each of B streams: what `look` said about it, and the tracks so far, to the rows of the answer."""

    def __init__(self, street: Street) -> None:
        super().__init__()
        self.street = street

    def forward(
        self,
        tokens: Tensor,
        evidence: Tensor,
        seed_features: Tensor,
        seed_boxes: Tensor,
        track_hs: Tensor,
        track_boxes: Tensor,
        track_valid: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """To FOLLOW_OUTPUTS, K track rows first: pred_logits (B, N, C), pred_boxes (B, N, 4) cxcywh in 0..1,
        mask_embed (B, N, M), next_hs (B, N, D). Track shapes as in `Street.forward`."""
        street = self.street
        keys, values = street.spread(tokens)
        absent = tokens.new_zeros(())  # what only training reads
        scene = Scene(absent, absent, keys, values, evidence, seed_features, seed_boxes, absent)
        last = street.decode(scene, track_hs, track_boxes, track_valid)[-1]
        return street.answer(last)


def cut(street: nn.Module) -> tuple[StreetLook, StreetFollow]:
    """Both stages of a loaded model, sharing its weights."""
    assert isinstance(street, Street)
    return StreetLook(street).eval(), StreetFollow(street).eval()
