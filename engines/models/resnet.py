"""ResNet-50 and -101 with frozen batch norm, as detectors use them: a picture in, features at the asked strides out.

Source: He et al. 2016 (bottlenecks, with the stride on the 3x3 convolution); parameter names are torchvision's, so a
checkpoint's `conv1.weight` … `layer4.2.bn3.running_var` fit as they are. The classifier is left out, and so are the
stages behind the last one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESNET_50 = (3, 4, 6, 3)  # bottlenecks in each of the four stages
RESNET_101 = (3, 4, 23, 3)
EXPANSION = 4  # a bottleneck gives four times the channels it works in


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and scales never change: a scale and a shift for each channel, no parameters.

    It folds into the convolution before it when exported. (B, C, H, W) to (B, C, H, W).
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=1e-5
        )


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, around a shortcut. (B, cin, H, W) to (B, 4 * planes, H/stride, W/stride)."""

    def __init__(self, cin: int, planes: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        cout = planes * EXPANSION
        self.conv1 = nn.Conv2d(cin, planes, 1, bias=False)
        self.bn1 = FrozenBatchNorm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = FrozenBatchNorm(planes)
        self.conv3 = nn.Conv2d(planes, cout, 1, bias=False)
        self.bn3 = FrozenBatchNorm(cout)
        same = cin == cout and stride == 1
        self.downsample = (
            None
            if same
            else nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), FrozenBatchNorm(cout))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet(nn.Module):
    """(B, 3, H, W) normalised pixels to the features of `stages`, each (B, c, ceil(H/s), ceil(W/s)), in their order.

    Stage i = 1 … 4 lies at stride 4, 8, 16, 32 and has `width` * 4 * 2^(i-1) channels: 256, 512, 1024, 2048 at the
    usual width of 64. With `dilation` (DC5: Li et al. 2017) the last stage keeps stride 16 and its 3x3 convolutions,
    but for the first, are spread by two. Other `layers` and `width` make reduced networks for tests.
    """

    def __init__(
        self,
        layers: Sequence[int] = RESNET_50,
        stages: Sequence[int] = (4,),
        *,
        width: int = 64,
        dilation: bool = False,
    ) -> None:
        super().__init__()
        if not stages or not set(stages) <= {1, 2, 3, 4} or list(stages) != sorted(set(stages)):
            raise ValueError(f"stages {tuple(stages)} are not rising numbers of 1 to 4")
        self.stages = tuple(stages)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        cin = width
        for stage in range(1, self.stages[-1] + 1):
            planes = width * 2 ** (stage - 1)
            spread = 2 if dilation and stage == 4 else 1
            stride = 1 if stage == 1 or spread > 1 else 2
            blocks = [Bottleneck(cin, planes, stride)]  # the first is not spread, as torchvision has it
            cin = planes * EXPANSION
            blocks += [Bottleneck(cin, planes, 1, spread) for _ in range(layers[stage - 1] - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.channels = tuple(width * EXPANSION * 2 ** (stage - 1) for stage in self.stages)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.bn1(self.conv1(pixels)))
        x = F.max_pool2d(x, 3, 2, 1)
        found = []
        for stage in range(1, self.stages[-1] + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            if stage in self.stages:
                found.append(x)
        return tuple(found)


def grid_hw(picture_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the features at `stride`: every halving rounds up."""
    return -(-picture_hw[0] // stride), -(-picture_hw[1] // stride)
