"""TrackFormer cut in two where the state comes in: `look` sees a picture, `follow` decodes it with tracks and memory.

Of the deformable model `look` makes both of a picture's encodings, as this frame and as the one before, so all that
must wait for the frame before is the decoder. One after the other the stages are exactly `forward`. What they take and
give depends on the variant, so each stage names it itself.
"""

from __future__ import annotations

from torch import Tensor, nn

from engines.models.trackformer import Looked, TrackFormer
from engines.models.trackformer_detr import DetrLooked, TrackFormerDetr

LOOK_INPUTS = ("images", "content_hw")
LOOK_OUTPUTS = ("memory", "as_previous", "extent_hw")
STATE_INPUTS = ("prev_memory", "prev_valid", "track_hs", "track_boxes", "track_valid")
FOLLOW_INPUTS = (*LOOK_OUTPUTS, *STATE_INPUTS)
FOLLOW_OUTPUTS = ("pred_logits", "pred_boxes", "next_hs", "next_memory")


class Look(nn.Module):
    """Pictures to what the decoder needs of them. No state, no order: any frames may share a batch."""

    def __init__(self, model: TrackFormer | TrackFormerDetr) -> None:
        super().__init__()
        self.model = model
        self.output_names = tuple(n for n in LOOK_OUTPUTS if n != "as_previous" or _frames(model) == 2)

    def forward(self, images: Tensor, content_hw: Tensor) -> tuple[Tensor, ...]:
        """To `output_names`, shapes as in Looked."""
        looked = self.model.look(images, content_hw)
        return tuple(getattr(looked, name) for name in self.output_names)


class Follow(nn.Module):
    """One frame of each of B streams: what `look` said of it and the stream's state, to the rows of the answer."""

    def __init__(self, model: TrackFormer | TrackFormerDetr, looked: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        given = model.input_names if isinstance(model, TrackFormer) else ("track_hs", "track_valid")
        self.input_names = (*looked, *(n for n in STATE_INPUTS if n in given))
        self.output_names = tuple(n for n in FOLLOW_OUTPUTS if n != "next_memory" or _frames(model) == 2)

    def forward(self, memory: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """From `input_names` to `output_names`, shapes as in the model's `forward`."""
        model = self.model
        if isinstance(model, TrackFormerDetr):
            extent_hw, *state = rest
            return model.follow(DetrLooked(memory, extent_hw), *state)
        if model.config.frames == 1:
            extent_hw, *state = rest
            return model.follow(Looked(memory, memory, extent_hw), None, None, *state)
        as_previous, extent_hw, *state = rest
        return (*model.follow(Looked(memory, as_previous, extent_hw), *state), as_previous.clone())


def _frames(model: TrackFormer | TrackFormerDetr) -> int:
    return model.config.frames if isinstance(model, TrackFormer) else 1


def cut(model: nn.Module) -> tuple[Look, Follow]:
    """Both stages of a loaded model, sharing its weights."""
    assert isinstance(model, TrackFormer | TrackFormerDetr)
    look = Look(model).eval()
    return look, Follow(model, look.output_names).eval()
