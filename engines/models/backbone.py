"""From pixels to features: a small residual network, one attention layer at stride 16, and a pyramid back to stride 2.

Everything here sees one picture and no track, so a training clip's frames pass through it as one batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import FeedForward, SelfAttention


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the norm folds into the convolution when compiled."""
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016). (B, cin, H, W) to (B, cout, H/stride, W/stride)."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(cin, cout, 3, stride)
        self.second = conv_bn(cout, cout)
        same = cin == cout and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(cin, cout, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        return F.relu(self.second(y) + self.shortcut(x))


class Backbone(nn.Module):
    """Features at strides 2, 4, 8 and 16 of a picture: (B, 3, H, W) to four (B, c, H/s, W/s)."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        s2, s4, s8, s16 = widths
        self.stem = conv_bn(3, s2, 3, 2)
        self.stage4 = nn.Sequential(BasicBlock(s2, s4, 2), BasicBlock(s4, s4, 1))
        self.stage8 = nn.Sequential(BasicBlock(s4, s8, 2), BasicBlock(s8, s8, 1))
        self.stage16 = nn.Sequential(BasicBlock(s8, s16, 2), BasicBlock(s16, s16, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x2 = F.relu(self.stem(pixels))
        x4 = self.stage4(x2)
        x8 = self.stage8(x4)
        return x2, x4, x8, self.stage16(x8)


class GlobalContext(nn.Module):
    """One transformer encoder layer over the stride-16 tokens, with a learned place for each token."""

    def __init__(self, cin: int, dim: int, heads: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.project = conv_bn(cin, dim, 1)
        self.place = nn.Parameter(torch.zeros(1, grid_hw[0] * grid_hw[1], dim))
        nn.init.normal_(self.place, std=0.02)
        self.attend = SelfAttention(dim, heads)
        self.attend_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, 2 * dim)

    def forward(self, x16: Tensor) -> Tensor:
        return self.watched(x16)[0]

    def watched(self, x16: Tensor) -> tuple[Tensor, Tensor]:
        """(B, cin, h, w) to (B, D, h, w), and how each cell looked at each, head by head: (B, heads, h*w, h*w)."""
        x = self.project(x16)
        h, w = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, h*w, D)
        weights = self.attend.weights(tokens + self.place)
        tokens = self.attend_norm(tokens + self.attend.mixed(weights, tokens))
        out: Tensor = self.feed(tokens)
        # (B, h*w, D) -> (B, D, h, w)
        return out.transpose(1, 2).reshape(-1, out.shape[-1], h, w), weights


class Pyramid(nn.Module):
    """Top-down fusion (Lin et al. 2017): what queries read at stride 8, centres at 4, masks at 2."""

    def __init__(self, widths: tuple[int, int, int, int], dim: int, fine_dim: int, mask_dim: int) -> None:
        super().__init__()
        s2, s4, s8, _ = widths
        self.lateral8 = conv_bn(s8, dim, 1)
        self.smooth8 = conv_bn(dim, dim)
        self.lateral4 = conv_bn(s4, fine_dim, 1)
        self.reduce8 = conv_bn(dim, fine_dim, 1)
        self.smooth4 = conv_bn(fine_dim, fine_dim)
        self.lateral2 = conv_bn(s2, mask_dim, 1)
        self.reduce4 = conv_bn(fine_dim, mask_dim, 1)
        self.smooth2 = conv_bn(mask_dim, mask_dim)
        self.mask_out = nn.Conv2d(mask_dim, mask_dim, 1)

    def forward(self, x2: Tensor, x4: Tensor, x8: Tensor, context16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """To `f8` (B, dim, H/8, W/8), `f4` (B, fine_dim, H/4, W/4), `mask_features` (B, mask_dim, H/2, W/2)."""
        f8 = F.relu(self.smooth8(F.relu(self.lateral8(x8) + _double(context16))))
        f4 = F.relu(self.smooth4(F.relu(self.lateral4(x4) + _double(self.reduce8(f8)))))
        f2 = F.relu(self.smooth2(F.relu(self.lateral2(x2) + _double(self.reduce4(f4)))))
        return f8, f4, self.mask_out(f2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
