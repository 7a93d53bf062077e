"""The parts that transformers share, against torch's own: attention, masks at a grid's size, sines, frozen norms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engines.models.mha import MultiHeadAttention
from engines.models.positions import padding_mask, sine_2d
from engines.models.resnet import FrozenBatchNorm, ResNet, grid_hw


@pytest.mark.parametrize("kind", ["self", "cross"])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_torchs_with_torchs_weights(kind: str, masked: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    nn.init.normal_(theirs.in_proj_bias)
    ours = MultiHeadAttention(32, 4)
    ours.load_state_dict(theirs.state_dict())
    query = torch.randn(3, 5, 32)
    key, value = (
        (query, torch.randn(3, 5, 32)) if kind == "self" else (torch.randn(3, 7, 32), torch.randn(3, 7, 32))
    )
    ignored = torch.arange(key.shape[1]) >= torch.tensor([[2], [4], [99]]) if masked else None
    wanted, weights = theirs(query, key, value, key_padding_mask=ignored, average_attn_weights=False)
    found, heads = ours(query, key, value, ignored, looks="heads")
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(heads, weights)
    mean = ours(query, key, value, ignored, looks="mean")[1]
    torch.testing.assert_close(mean, weights.mean(dim=1))
    assert ours(query, key, value, ignored)[1] is None
    if ignored is not None:
        assert heads is not None
        assert (heads.permute(0, 3, 1, 2)[ignored] == 0).all()


def test_attention_without_a_key_that_counts_is_finite_and_queries_may_be_the_same_for_all() -> None:
    torch.manual_seed(0)
    ours = MultiHeadAttention(32, 4)
    query, key = torch.randn(1, 5, 32), torch.randn(3, 7, 32)
    nothing = torch.ones(3, 7, dtype=torch.bool)
    assert torch.isfinite(ours(query, key, key, nothing)[0]).all()
    torch.testing.assert_close(ours(query, key, key)[0], ours(query.expand(3, -1, -1), key, key)[0])
    with pytest.raises(ValueError, match="3 heads"):
        MultiHeadAttention(32, 3)


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
@pytest.mark.parametrize("picture_hw", [(97, 130), (64, 96), (70, 33)])
def test_a_mask_at_the_grids_size_is_the_pictures_mask_reduced(
    stride: int, picture_hw: tuple[int, int]
) -> None:
    h, w = picture_hw
    content = torch.tensor([[h, w], [h // 2, w], [h, w // 3], [1, 1]], dtype=torch.float32)
    whole = torch.ones(4, h, w)
    for b, (rows, columns) in enumerate(content.long().tolist()):
        whole[b, :rows, :columns] = 0
    cells = grid_hw(picture_hw, stride)
    wanted = F.interpolate(whole[None], size=cells)[0].bool()
    found = padding_mask(content, picture_hw, cells)
    assert torch.equal(found, wanted)
    assert not found[:, 0, 0].any()


def test_a_position_tells_row_and_column_as_shares_of_the_content() -> None:
    padding = padding_mask(torch.tensor([[64.0, 64.0], [32.0, 64.0]]), (64, 64), (8, 8))
    whole, half = sine_2d(padding, 16)
    assert whole.shape == (8, 8, 16)
    torch.testing.assert_close(whole[:, 0, :8], whole[:, 5, :8])  # the first half knows only the row
    torch.testing.assert_close(whole[0, :, 8:], whole[5, :, 8:])
    torch.testing.assert_close(half[3, :, :8], whole[7, :, :8], atol=1e-5, rtol=0)  # the last row that counts
    angle = 2 * math.pi * 3 / 8
    torch.testing.assert_close(
        whole[2, 4, :2], torch.tensor([math.sin(angle), math.cos(angle)]), atol=1e-5, rtol=0
    )


def test_a_frozen_norm_is_a_norm_at_rest_and_has_nothing_to_train() -> None:
    torch.manual_seed(0)
    theirs, ours = nn.BatchNorm2d(6).eval(), FrozenBatchNorm(6)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    ours.load_state_dict({k: t for k, t in theirs.state_dict().items() if t.is_floating_point()})
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(ours.train()(x), theirs(x))
    assert not list(ours.parameters())


def test_a_resnet_gives_the_stages_asked_for_and_holds_no_more_than_it_needs() -> None:
    torch.manual_seed(0)
    every, two = ResNet((1, 2, 1, 1), (1, 2, 3, 4), width=8), ResNet((1, 2, 1, 1), (2,), width=8)
    assert (every.channels, two.channels) == ((32, 64, 128, 256), (64,))
    assert not any(name.startswith("layer3") for name in two.state_dict())
    two.load_state_dict({k: t for k, t in every.state_dict().items() if k in two.state_dict()})
    x = torch.randn(1, 3, 70, 97)
    found = every(x)
    assert [tuple(f.shape[2:]) for f in found] == [grid_hw((70, 97), s) for s in (4, 8, 16, 32)]
    torch.testing.assert_close(two(x)[0], found[1])
    spread = ResNet((1, 2, 1, 3), (4,), width=8, dilation=True)
    assert spread(x)[0].shape[2:] == (5, 7)
    assert [block.conv2.dilation for block in spread.get_submodule("layer4")] == [(1, 1), (2, 2), (2, 2)]
    with pytest.raises(ValueError, match="stages"):
        ResNet(stages=(4, 3))
