"""Public models in small, with weights drawn at random, as folders that `save_pretrained` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    HGNetV2Config,
    PreTrainedModel,
    ResNetConfig,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    YolosConfig,
    YolosForObjectDetection,
)

from tests.golden.fill import filled

LABELS = ("person", "car", "dog")
SIZE_HW = (64, 96)
QUERIES = 12

_NAMES: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {name: i for i, name in enumerate(LABELS)},
}
_SMALL: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": QUERIES,
}  # fmt: skip
_STAGES: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
_TWO_STAGE: dict[str, Any] = {
    **_SMALL, "encoder_in_channels": [24, 32, 48], "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32],
    "num_denoising": 0,
}  # fmt: skip
_THREE_STAGES = ["stage2", "stage3", "stage4"]


def detr() -> PreTrainedModel:
    backbone = ResNetConfig(**_STAGES, layer_type="basic", out_features=["stage4"])
    return DetrForObjectDetection(
        DetrConfig(use_timm_backbone=False, backbone_config=backbone, backbone=None, **_SMALL, **_NAMES)
    )


def yolos() -> PreTrainedModel:
    return YolosForObjectDetection(
        YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=[*SIZE_HW],
            num_detection_tokens=QUERIES, **_NAMES,
        )
    )  # fmt: skip


def rt_detr_v2() -> PreTrainedModel:
    backbone = RTDetrResNetConfig(**_STAGES, layer_type="basic", out_features=_THREE_STAGES)
    return RTDetrV2ForObjectDetection(RTDetrV2Config(backbone_config=backbone, **_TWO_STAGE, **_NAMES))


def d_fine() -> PreTrainedModel:
    backbone = HGNetV2Config(
        **_STAGES, stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 24, 32], stage_mid_channels=[8] * 4,
        stage_out_channels=[16, 24, 32, 48], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
        out_features=_THREE_STAGES,
    )  # fmt: skip
    config = DFineConfig(backbone_config=backbone, feat_strides=[8, 16, 32], **_TWO_STAGE, **_NAMES)
    return DFineForObjectDetection(config)


def segformer() -> PreTrainedModel:
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=32,
            **_NAMES,
        )
    )  # fmt: skip


IMAGENET: dict[str, Any] = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
EXACT_SIZE: dict[str, Any] = {"size": {"height": SIZE_HW[0], "width": SIZE_HW[1]}}

MODELS: Mapping[str, tuple[Callable[[], PreTrainedModel], dict[str, Any]]] = {
    "detr": (detr, {**IMAGENET, "size": {"shortest_edge": 64, "longest_edge": 120}}),
    "yolos": (yolos, {**IMAGENET, **EXACT_SIZE}),
    "rt_detr_v2": (rt_detr_v2, {**EXACT_SIZE, "do_normalize": False}),
    "d_fine": (d_fine, {**EXACT_SIZE, "do_normalize": False}),
    "segformer": (segformer, {**IMAGENET, **EXACT_SIZE}),
}


def write(name: str, folder: Path, *, trained: bool = True) -> Path:
    """Writes the model into `folder`. Not `trained`: as the library initialises it, features alike everywhere."""
    make, preprocess = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    if trained:
        spread(model)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocess))
    return folder


def spread(model: torch.nn.Module) -> None:
    """Weights at the scale of trained ones, so that features differ from place to place and scores from row to row."""
    with torch.no_grad():
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            fixed = "anchor" in key or key.endswith((".up", ".reg_scale", "num_batches_tracked"))
            if tensor.is_floating_point() and tensor.dim() and not fixed:
                tensor.copy_(torch.from_numpy(filled(key, tuple(tensor.shape))))
