"""The street model cut in two where the state comes in: `look` sees a picture, `follow` decodes it with the tracks.

`look` (three quarters of the work) needs no state, so frames of one stream may share its batch or run ahead of the
tracker on another core; only `follow` must wait for the frame before. One after the other they are exactly
`Street.forward`.
"""

from __future__ import annotations

from torch import Tensor, nn

from engines.models.street import ACTION_NAMES, KEY_NAMES, RING_NAMES, Scene, Street

LOOK_INPUTS = ("images",)
LOOK_OUTPUTS = (
    "tokens", "evidence", "seed_features", "seed_boxes", "mask_features", "semantic", "key_features", "clip_feature",
    "scene_feature",
)  # fmt: skip
FOLLOW_INPUTS = (
    "tokens", "evidence", "seed_features", "seed_boxes", "scene_feature", "track_hs", "track_boxes", "track_valid",
    *RING_NAMES,
)  # fmt: skip
FOLLOW_OUTPUTS = ("pred_logits", "pred_boxes", "mask_embed", "next_hs", *KEY_NAMES, *ACTION_NAMES)
ALWAYS = ("tokens", "evidence", "seed_features", "seed_boxes")


class StreetLook(nn.Module):
    """Pictures to what the decoder needs of them. No state, no order: any frames may share a batch."""

    def __init__(self, street: Street) -> None:
        super().__init__()
        self.street = street
        given = (*ALWAYS, *street.output_names, *_for_actions(street))
        self.output_names = tuple(n for n in LOOK_OUTPUTS if n in given)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` u8 (B, H, W, 3) RGB to `output_names`: tokens (B, S, D), evidence (B, S, 4 + C), seed_features
        (B, Q, fine_dim), seed_boxes (B, Q, 4) cxcywh in 0..1, f32; the rest as in `Street.forward`."""
        seen = self.street.see(images)
        said = {name: getattr(seen, name) for name in ALWAYS} | self.street.picture(seen)
        if seen.clip_feature is not None:  # twice: what `follow` takes does not go on to the task
            said["scene_feature"] = seen.clip_feature.clone()
        return tuple(said[name] for name in self.output_names)


class StreetFollow(nn.Module):
    """One frame of each of B streams: what `look` said about it, and the tracks so far, to the rows of the answer."""

    def __init__(self, street: Street) -> None:
        super().__init__()
        self.street = street
        given = (*ALWAYS, *street.input_names, *_for_actions(street))
        self.input_names = tuple(n for n in FOLLOW_INPUTS if n in given)
        self.output_names = tuple(
            n for n in FOLLOW_OUTPUTS if n in street.output_names and n != "clip_feature"
        )

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """From `input_names` to `output_names`, K track rows first; shapes as in `Street.forward`."""
        street, named = self.street, dict(zip(self.input_names, given, strict=True))
        tokens = named["tokens"]
        keys, values = street.spread(tokens)
        absent = tokens.new_zeros(())  # what only training reads
        scene = Scene(
            absent,
            absent,
            keys,
            values,
            named["evidence"],
            named["seed_features"],
            named["seed_boxes"],
            absent,
        )
        last = street.decode(scene, named["track_hs"], named["track_boxes"], named["track_valid"])[-1]
        ring = tuple(named[name] for name in RING_NAMES if name in named)
        said = street.answer(last, tokens, named.get("scene_feature"), ring)
        return tuple(said[name] for name in self.output_names)


def _for_actions(street: Street) -> tuple[str, ...]:
    return ("scene_feature",) if street.actions is not None else ()


def cut(street: nn.Module) -> tuple[StreetLook, StreetFollow]:
    """Both stages of a loaded model, sharing its weights."""
    assert isinstance(street, Street)
    return StreetLook(street).eval(), StreetFollow(street).eval()
