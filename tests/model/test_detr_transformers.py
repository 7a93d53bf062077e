"""DETR against the `transformers` library with the same weights: another hand wrote it, with other names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DetrConfig as TheirConfig
from transformers import DetrForObjectDetection, ResNetConfig

from engines.models.detr import Detr, DetrConfig

HW, LABELS = (70, 97), ("N/A", "person", "car")
CONFIG = DetrConfig(
    height=HW[0], width=HW[1], labels=LABELS, backbone_layers=(1, 2, 1, 2), backbone_width=8, hidden_dim=64, heads=4,
    feed_dim=48, encoder_layers=2, decoder_layers=3, queries=7, attention=True,
)  # fmt: skip

# Their name -> ours, in the order they are tried on a name.
RENAMES = (
    (r"^model\.backbone\.model\.embedder\.embedder\.convolution\.", "backbone.conv1."),
    (r"^model\.backbone\.model\.embedder\.embedder\.normalization\.", "backbone.bn1."),
    (r"^model\.backbone\.model\.encoder\.stages\.0\.layers\.", "backbone.layer1."),
    (r"^model\.backbone\.model\.encoder\.stages\.1\.layers\.", "backbone.layer2."),
    (r"^model\.backbone\.model\.encoder\.stages\.2\.layers\.", "backbone.layer3."),
    (r"^model\.backbone\.model\.encoder\.stages\.3\.layers\.", "backbone.layer4."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.0\.convolution\.", ".conv1."),
    (r"\.layer\.1\.convolution\.", ".conv2."),
    (r"\.layer\.2\.convolution\.", ".conv3."),
    (r"\.layer\.0\.normalization\.", ".bn1."),
    (r"\.layer\.1\.normalization\.", ".bn2."),
    (r"\.layer\.2\.normalization\.", ".bn3."),
    (r"^model\.query_position_embeddings\.", "query_embed."),
    (r"^model\.input_projection\.", "input_proj."),
    (r"^model\.decoder\.layernorm\.", "transformer.decoder.norm."),
    (r"^model\.(encoder|decoder)\.layers\.", r"transformer.\1.layers."),
    (r"\.mlp\.fc([12])\.", r".linear\1."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.encoder_attn_layer_norm\.", ".norm2."),
    (r"(\.encoder\.layers\.\d+)\.final_layer_norm\.", r"\1.norm2."),
    (r"(\.decoder\.layers\.\d+)\.final_layer_norm\.", r"\1.norm3."),
    (r"\.encoder_attn\.", ".multihead_attn."),
    (r"\.o_proj\.", ".out_proj."),
    (r"^class_labels_classifier\.", "class_embed."),
    (r"^bbox_predictor\.", "bbox_embed."),
)


def ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names; the three projections of an attention become one."""
    named: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        for pattern, into in RENAMES:
            name = re.sub(pattern, into, name)
        named[name] = tensor
    for name in [n for n in named if ".q_proj." in n]:
        parts = [named.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        named[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return named


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Their model, with weights that keep tokens and queries apart: attention neither flat nor all-levelling."""
    width = CONFIG.backbone_width
    backbone = ResNetConfig(
        embedding_size=width, hidden_sizes=[4 * width * 2**i for i in range(4)], depths=list(CONFIG.backbone_layers),
        layer_type="bottleneck", out_features=["stage4"],
    )  # fmt: skip
    config = TheirConfig(
        use_timm_backbone=False, backbone_config=backbone, d_model=CONFIG.hidden_dim, num_queries=CONFIG.queries,
        encoder_layers=CONFIG.encoder_layers, decoder_layers=CONFIG.decoder_layers, num_labels=len(LABELS),
        encoder_ffn_dim=CONFIG.feed_dim, decoder_ffn_dim=CONFIG.feed_dim, encoder_attention_heads=CONFIG.heads,
        decoder_attention_heads=CONFIG.heads, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = DetrForObjectDetection(config).eval()
    for name, tensor in model.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif "query_position" in name:
            tensor.normal_()
        elif tensor.ndim > 1:
            sharp = 2.5 if ".q_proj." in name or ".k_proj." in name else 1.0
            soft = 0.2 if ".encoder.layers" in name and ".v_proj." in name else 1.0
            tensor.normal_(std=sharp * soft * tensor[0].numel() ** -0.5)
        else:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def test_the_same_weights_give_the_same_answer_where_pictures_are_padded(theirs: Any) -> None:
    model = Detr(CONFIG).eval()
    model.load_state_dict(ours(theirs.state_dict()))  # strict: every name has one counterpart
    content = torch.tensor([[70.0, 97.0], [40.0, 97.0], [70.0, 60.0]])
    mask = torch.zeros(3, *HW, dtype=torch.long)
    for b, (rows, columns) in enumerate(content.long().tolist()):
        mask[b, :rows, :columns] = 1
    coarse = torch.randn(3, 3, 7, 10).repeat_interleave(10, 2).repeat_interleave(10, 3)[..., : HW[1]]
    pixels = (coarse + 0.3 * torch.randn(3, 3, *HW)) * mask[:, None]
    with torch.inference_mode():
        answer = model.answer(pixels, content)
        said = theirs(pixel_values=pixels, pixel_mask=mask, output_attentions=True)
    # Measured: logits 1.1e-6 (of 1.3), boxes 1.5e-7, attention 7.6e-7.
    assert float((answer.logits - said.logits).abs().max()) < 1e-4
    assert float((answer.boxes - said.pred_boxes).abs().max()) < 1e-4
    assert answer.decoder_attention is not None and answer.encoder_attention is not None
    for mine, other in (
        (answer.decoder_attention, said.cross_attentions[-1]),
        (answer.encoder_attention, said.encoder_attentions[-1]),
    ):
        assert float((mine - other.mean(dim=1)).abs().max()) < 1e-4
    apart = answer.logits.std(dim=1)  # the queries differ, so there was something to compare
    assert float(apart.min()) > 0.01
