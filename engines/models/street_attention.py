"""The street model, telling where it looked: the same weights and rows, with attention in the place of the heads.

Two looks go out beside boxes, logits and queries: how each query row of the last decoder layer looked at the picture's
tokens (stride 8, through its Gaussian windows), and how the encoder's cells looked at each other (stride 16), each the
mean over heads. It is no stage of the served graph but an engine of its own, asked about single frames afterwards: the
served one pays nothing. Masks, key points, the map of classes and actions are left out, for none of them feeds back.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from engines.models.street import FORMAT, INPUT_NAMES, Scene, Street
from engines.models.street_family import example_inputs, load_street, natural_inputs

__all__ = [
    "FORMAT",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "StreetAttention",
    "example_inputs",
    "load_street_attention",
]
__all__ += ["natural_inputs"]

ATTENTION_NAMES = ("decoder_attention", "encoder_attention")
OUTPUT_NAMES = ("pred_logits", "pred_boxes", "next_hs", *ATTENTION_NAMES)
HEADS = "masks,keypoint_names,semantic_labels,action_labels"


class StreetAttention(Street):
    """A `Street` without heads whose answer is OUTPUT_NAMES."""

    def __init__(self, street: Street) -> None:
        super().__init__(street.config)
        self.load_state_dict(street.state_dict())
        self.output_names = OUTPUT_NAMES

    def forward(
        self, images: Tensor, track_hs: Tensor, track_boxes: Tensor, track_valid: Tensor, *ring: Tensor
    ) -> tuple[Tensor, ...]:
        """As `Street.forward`; then decoder_attention (B, N, S), S = H/8 * W/8, and encoder_attention (B, S16, S16),
        S16 = H/16 * W/16, row by row of the picture. Rows of both sum to 1."""
        *fine, x16 = self.strides(images)
        context, encoder = self.context.watched(x16)
        seen = self.seen(images, fine, context)
        keys, values = self.spread(seen.tokens)
        looks: list[Tensor] = []
        scene = Scene(keys=keys, values=values, **seen._asdict())
        last = self.decode(scene, track_hs, track_boxes, track_valid, looks)[-1]
        said = self.answer(last, scene.tokens, scene.clip_feature, ring)
        said |= {"decoder_attention": looks[-1], "encoder_attention": encoder.mean(dim=1)}
        return tuple(said[name] for name in self.output_names)


def load_street_attention(path: Path | str) -> StreetAttention:
    """The attention variant of weights that `save_street` wrote, float32, in eval mode. Errors as `load_street`."""
    return StreetAttention(load_street(path, without=HEADS)).eval()
