"""A public model with its preprocess in front: uint8 pictures in, what a task reads out. For the build's child alone.

Only the library's Auto classes are used (`AutoModelForObjectDetection`, `AutoModelForSemanticSegmentation`; Hugging
Face, transformers 5), attention in its plain form so that it exports. No code that a repository brings along is run.

Boxes of a model that was trained on padded batches with a mask are shares of the content; it gets the mask here, made
in the graph from `content_hw`, and zeros after normalisation where the padding is, as its own processor has it.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.hub.reading import DETECT, Reading, read
from streamer.errors import EngineError

INPUT_NAMES = ("images", "content_hw")
DETECT_NAMES = ("pred_logits", "pred_boxes")
SEMANTIC_NAMES = ("map",)
OUTPUT_NAMES = DETECT_NAMES

MOST_CLASSES = 255  # of a class map: it is uint8, and 255 says that nothing was seen


@dataclass(frozen=True, slots=True)
class HubConfig:
    """What tasks and readers need to know: see `engines.hub.reading.Reading` and `engines.tasks.detect`."""

    model_type: str
    height: int
    width: int
    labels: tuple[str, ...]
    fit: str
    scores: str
    boxes_of: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    threshold: float | None = None


class HubModel(nn.Module):
    """The public model behind its preprocess. `masked`: it takes the padding as a mask."""

    def __init__(self, model: nn.Module, config: HubConfig, *, masked: bool) -> None:
        super().__init__()
        self.config, self.model, self.masked = config, model, masked
        self.input_names = INPUT_NAMES if masked else INPUT_NAMES[:1]
        self.output_names = DETECT_NAMES if config.scores else SEMANTIC_NAMES
        self.mean, self.std = (
            torch.tensor(config.mean),
            torch.tensor(config.std),
        )  # RGB, last axis of `images`

    def forward(self, images: Tensor, content_hw: Tensor | None = None) -> tuple[Tensor, ...]:
        """`images` u8 (B, H, W, 3) RGB, `content_hw` i32 (B, 2) where masked.

        A detector: pred_logits (B, Q, C or C + 1), pred_boxes (B, Q, 4) cxcywh in 0..1. A segmenter: map u8 (B, h, w),
        the likeliest class of each cell at the resolution of its own logits.
        """
        pixels = (images.float() * self.config.scale - self.mean) / self.std
        pixels = pixels.permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)
        mask: dict[str, Tensor] = {}
        if self.masked:
            assert content_hw is not None
            height, width = self.config.height, self.config.width
            rows = torch.arange(height, dtype=torch.int32)[None, :, None] < content_hw[:, None, :1]
            columns = torch.arange(width, dtype=torch.int32)[None, None, :] < content_hw[:, None, 1:]
            inside = rows & columns  # (B, H, W)
            pixels = pixels * inside[:, None].float()
            mask = {"pixel_mask": inside.long()}
        answer = self.model(pixel_values=pixels, **mask)
        if self.config.scores:
            return answer.logits, answer.pred_boxes
        return (answer.logits.argmax(dim=1).to(torch.uint8),)


def load_hub(folder: Path, height: str = "", width: str = "", threshold: str = "") -> HubModel:
    """The model of a folder in eval mode, float32; the other arguments are the options of its address, as text.

    Raises EngineError, one line, for what the library cannot load and for a model that answers in no known way.
    """
    reading = read(folder)
    input_hw = (int(height), int(width)) if height else reading.input_hw
    model = _loaded(reading, folder)
    masked = reading.keeps_aspect and "pixel_mask" in inspect.signature(model.forward).parameters
    detects = reading.task == DETECT
    config = HubConfig(
        model_type=reading.model_type,
        height=input_hw[0],
        width=input_hw[1],
        labels=reading.labels,
        fit="pad" if masked else "stretch",
        scores="sigmoid" if detects else "",
        boxes_of="content" if masked else "picture",
        scale=reading.scale,
        mean=reading.mean,
        std=reading.std,
        threshold=float(threshold) if threshold else None,
    )
    served = HubModel(model, config, masked=masked).eval()
    classes = _classes(served, folder)
    if not detects and classes > MOST_CLASSES:
        raise EngineError(f"{classes} classes, a class map holds {MOST_CLASSES}", where=str(folder))
    if detects and classes == len(reading.labels) + 1:  # one more than there are names: the last is "nothing"
        served.config = dataclasses.replace(config, scores="softmax")
    elif classes != len(reading.labels):
        raise EngineError(
            f"it scores {classes} classes and names {len(reading.labels)}",
            where=f"{folder / 'config.json'}: id2label",
            mend="name each class, without one for nothing",
        )
    return served


def _loaded(reading: Reading, folder: Path) -> nn.Module:
    from transformers import AutoModelForObjectDetection, AutoModelForSemanticSegmentation

    kind = AutoModelForObjectDetection if reading.task == DETECT else AutoModelForSemanticSegmentation
    try:
        loaded: tuple[nn.Module, dict[str, Any]] = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # what does not fit is refused below, by name
        )
    except ImportError as error:
        raise EngineError(
            f"the model needs a package that is not installed: {_line(error)}",
            where=str(folder),
            mend="install it, or take a revision without it (DETR's is hf://facebook/detr-resnet-50@no_timm)",
        ) from None
    except Exception as error:  # the library's own, safetensors', torch's: they share no nearer class
        raise EngineError(f"the library cannot load it: {_line(error)}", where=str(folder)) from None
    model, report = loaded
    # The library draws at random what the file lacks, and goes on: nobody would notice but by the answers.
    absent = [str(key) for key in report.get("missing_keys", ())]
    reshaped = [str(key[0]) for key in report.get("mismatched_keys", ())]
    for what, names in (("missing", absent), ("of another shape", reshaped)):
        if names:
            raise EngineError(
                f"{len(names)} weights are {what}: {', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''}",
                where=str(folder),
                mend="give the weights that belong to this config.json",
            )
    return model.eval()


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :300
    ]


def _classes(served: HubModel, folder: Path) -> int:
    """How many classes it scores, by asking it."""
    with torch.inference_mode():
        images = example_inputs(1, served.config)[0]
        mask = {}
        if served.masked:
            mask = {"pixel_mask": torch.ones(images.shape[:3], dtype=torch.long)}
        try:
            answer = served.model(pixel_values=images.permute(0, 3, 1, 2).float() / 255, **mask)
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"it takes no pictures of {served.config.height}x{served.config.width}: {_line(error)}",
                where=str(folder),
                mend="give a size that it was made for, as in hf://…?height=640&width=640",
            ) from None
    if served.config.scores:
        if not hasattr(answer, "pred_boxes"):
            raise EngineError("it answers with no pred_boxes", where=str(folder))
        return int(answer.logits.shape[-1])
    return int(answer.logits.shape[1])


def example_inputs(batch: int, config: HubConfig, seed: int = 0) -> tuple[Tensor, ...]:
    """Random pictures, images u8 (B, H, W, 3), and where they are padded how much is content, content_hw i32 (B, 2)."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=draw)
    if config.fit != "pad":
        return (images,)
    share = 0.6 + 0.4 * torch.rand((batch, 2), generator=draw)
    return images, (share * torch.tensor([config.height, config.width])).to(torch.int32)
