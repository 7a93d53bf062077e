"""What the street model says beside boxes: the semantic map, key points, and what is being done.

All heads hang on the same trunk and the same query rows. Sources: SETR-MLA's aggregation of levels (Zheng et al. 2021)
on a pyramid; TransPose's heat maps (Yang et al. 2021), here one dynamic kernel a key point and row as CondInst has them
for masks (Tian et al. 2020), read by soft-argmax (Sun et al. 2018); VTN's temporal encoder (Neimark et al. 2021), here
over a track's features as well as over a stream's.

Dimensions: B pictures, N rows, K track rows, D hidden, F feature, T frames of a clip, P key points, S = H/8 * W/8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.backbone import conv_bn
from engines.models.longformer import TemporalEncoder
from engines.models.street_parts import SMALLEST_SIDE, StreetConfig

DETAIL = 32  # channels of the picture at stride 2 with all levels in it
PLACES = 5  # x, y, their squares and 1: with them a kernel can say "only around my box"
KEY_REACH = 1.2  # key points are looked for in the box, made larger by this
KEY_SIGMA = 0.2  # of the window around a regressed place, in boxes
WINDOWS = (-0.33, 0.0, 0.33)  # a region is read in three windows, from its head to its feet, in boxes
LONGEST_AGE = 31  # ticks; what is older counts as this old


class Detail(nn.Module):
    """All levels brought together and down to stride 2, in SETR-MLA's manner: (B, width, H/2, W/2)."""

    def __init__(self, config: StreetConfig, width: int = DETAIL, level: int = 48) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.level16 = conv_bn(dim, level, 1)
        self.level8 = conv_bn(dim, level, 1)
        self.level4 = conv_bn(config.fine_dim, level, 1)
        self.smooth16 = conv_bn(level, width)
        self.smooth8 = conv_bn(level, width)
        self.smooth4 = conv_bn(level, width)
        self.join = conv_bn(3 * width, width, 1)
        self.level2 = conv_bn(config.widths[0], width, 1)
        self.smooth2 = conv_bn(width, width)

    def forward(self, x2: Tensor, f4: Tensor, f8: Tensor, context16: Tensor) -> Tensor:
        a16 = self.level16(context16)
        a8 = self.level8(f8) + _grown(a16, 2)
        a4 = self.level4(f4) + _grown(a8, 2)
        levels = (
            _grown(F.relu(self.smooth16(a16)), 4),
            _grown(F.relu(self.smooth8(a8)), 2),
            F.relu(self.smooth4(a4)),
        )
        joined = self.join(torch.cat(levels, dim=1))  # (B, 3 * width, H/4, W/4) -> (B, width, H/4, W/4)
        return F.relu(self.smooth2(F.relu(self.level2(x2) + _grown(joined, 2))))


class MaskPlaces(nn.Module):
    """Lets a mask know where it is: five channels that are the same in every picture, and their part of the kernels.

    A row says how its mask falls off with the distance from its box's centre, u = (x - cx) / w and v = (y - cy) / h, as
    a u + b v + c u^2 + d v^2; written out in x and y this is a kernel on the channels x, y, x^2, y^2 and 1. So two
    people in the same coat have two masks.
    """

    channels: Tensor  # f32 (1, PLACES, H/2, W/2)

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        self.fall = nn.Linear(config.hidden_dim, 4)
        nn.init.zeros_(self.fall.weight)
        nn.init.zeros_(self.fall.bias)
        rows, columns = config.mask_hw
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) / rows - 0.5,
            (torch.arange(columns) + 0.5) / columns - 0.5,
            indexing="ij",
        )
        channels = torch.stack((x, y, x.square(), y.square(), torch.ones_like(x)))
        self.register_buffer("channels", channels.unsqueeze(0), persistent=False)

    def kernel(self, hs: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """hs (B, N, D) and f32 boxes (B, N, 4) to the kernels on the five channels, f32 (B, N, PLACES)."""
        a, b, c, d = self.fall(hs).float().unbind(-1)
        cx, cy = boxes_cxcywh[..., 0] - 0.5, boxes_cxcywh[..., 1] - 0.5
        w, h = boxes_cxcywh[..., 2].clamp(min=SMALLEST_SIDE), boxes_cxcywh[..., 3].clamp(min=SMALLEST_SIDE)
        c, d = c / w.square(), d / h.square()
        a, b = a / w, b / h
        constant = c * cx.square() + d * cy.square() - a * cx - b * cy
        return torch.stack((a - 2 * c * cx, b - 2 * d * cy, c, d, constant), dim=-1)


class Keys(nn.Module):
    """Key points of every row: a kernel each on the key features, a window around a first guess, and "is it seen"."""

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        dim, points = config.hidden_dim, len(config.keypoint_names)
        self.points, self.channels = points, config.key_channels
        self.features = nn.Conv2d(DETAIL, config.key_channels, 1)
        self.kernel = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, points * config.key_channels)
        )
        self.guess = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, points * 2))
        self.seen = nn.Linear(dim, points)

    def forward(self, hs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hs (B, N, D) to kernels (B, N, P * channels), logits (B, N, P) and first guesses (B, N, P, 2) in boxes."""
        guess = self.guess(hs).float()
        return self.kernel(hs), self.seen(hs), guess.view(-1, guess.shape[1], self.points, 2)


class Actions(nn.Module):
    """What each track does and what is done in the scene, from this frame's features and a ring of earlier ones."""

    grid_y: Tensor
    grid_x: Tensor

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        dim, width, classes = config.hidden_dim, config.feature_dim, len(config.action_labels)
        rows, columns = config.grid_hw
        self.read = nn.Sequential(
            nn.Linear(dim * (1 + len(WINDOWS)), 2 * width), nn.ReLU(), nn.Linear(2 * width, width - 4)
        )
        self.read_norm = nn.LayerNorm(width - 4)
        self.read_scene = nn.Sequential(
            nn.Linear(2 * dim, 2 * width), nn.ReLU(), nn.Linear(2 * width, width - 4)
        )
        self.at_once = nn.Linear(width - 4, classes)  # training only: a frame alone should say what it can
        self.join = nn.Linear(width - 4, width)
        self.motion = nn.Sequential(nn.Linear(7, width), nn.ReLU(), nn.Linear(width, width))
        self.first = nn.Parameter(torch.randn(2, 1, width) * 0.5)  # the class tokens: a track's, the scene's
        self.temporal = TemporalEncoder(
            width, depth=2, heads=4, mlp_dim=2 * width, frames=config.clip_frames,
            window=2 * ((config.clip_frames + 1) // 2), positions=LONGEST_AGE + 3,
        )  # fmt: skip
        self.classify = nn.Linear(width, classes)
        self.classify_scene = nn.Linear(width, classes)
        self.aspect = config.width / config.height
        self.register_buffer("grid_y", (torch.arange(rows) + 0.5) / rows, persistent=False)
        self.register_buffer("grid_x", (torch.arange(columns) + 0.5) / columns, persistent=False)

    def freeze_clips(self) -> None:
        """Only what a single frame says goes on learning; the rest waits for clips."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.partition(".")[0] in ("read", "read_norm", "at_once"))

    def region(self, tokens: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """The picture's tokens (B, S, D) under three windows of each box f32 (B, N, 4): (B, N, 3 * D)."""
        rows, columns = len(self.grid_y), len(self.grid_x)
        cx, cy, w, h = boxes_cxcywh.unsqueeze(-1).unbind(2)  # (B, N, 1) each
        down = cy + h * torch.tensor(WINDOWS, device=h.device)  # (B, N, 3)
        tall, wide = (h * 0.2 + 0.5 / rows).unsqueeze(-1), w * 0.3 + 0.5 / columns
        in_y = torch.softmax(
            -0.5 * ((self.grid_y - down.unsqueeze(-1)) / tall).square(), dim=-1
        )  # (B, N, 3, rows)
        in_x = torch.softmax(-0.5 * ((self.grid_x - cx) / wide).square(), dim=-1)  # (B, N, columns)
        weights = (in_y.unsqueeze(-1) * in_x[:, :, None, None, :]).flatten(3).flatten(1, 2)  # (B, N * 3, S)
        n, dim = boxes_cxcywh.shape[1], tokens.shape[-1]
        return (weights.to(tokens.dtype) @ tokens).reshape(
            -1, n, len(WINDOWS) * dim
        )  # (B, N*3, D) -> (B, N, 3*D)

    def features(self, hs: Tensor, region: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """What a ring keeps of each row, f32 (B, N, F): hs (B, N, D), region (B, N, 3 * D), the box as it is."""
        content: Tensor = self.read_norm(self.read(torch.cat((hs, region.to(hs.dtype)), dim=-1)))
        return torch.cat((content.float(), boxes_cxcywh), dim=-1)

    def scene_feature(self, tokens: Tensor) -> Tensor:
        """What the stream's ring keeps of a picture, f32 (B, F): tokens (B, S, D)."""
        content = self.read_norm(self.read_scene(torch.cat((tokens.mean(1), tokens.amax(1)), dim=-1))).float()
        whole = torch.tensor([0.5, 0.5, 1.0, 1.0], device=content.device).expand(content.shape[0], 4)
        return torch.cat((content, whole), dim=-1)

    def clip(self, now: Tensor, ring: Tensor, age: Tensor, valid: Tensor, scene: bool) -> Tensor:
        """Logits (R, C) of R clips: `now` (R, F), `ring` (R, T-1, F), `age` i64 (R, T-1) ticks, `valid` (R, T-1)."""
        frames = torch.cat((ring, now.unsqueeze(1)), dim=1)  # (R, T, F)
        ages = torch.cat((age, torch.zeros_like(age[:, :1])), dim=1).clamp(0, LONGEST_AGE)
        there = torch.cat((valid, torch.ones_like(valid[:, :1])), dim=1)
        tokens = self.join(frames[..., :-4]) + self.motion(self._moved(frames[..., -4:], now[:, -4:], ages))
        tokens = self.temporal(self.first[1:] if scene else self.first[:1], tokens, ages, there)[:, 0]
        out: Tensor = (self.classify_scene if scene else self.classify)(tokens)
        return out

    def _moved(self, boxes: Tensor, now: Tensor, age: Tensor) -> Tensor:
        """How boxes (R, T, 4) lie to the one of now (R, 4), in its heights; with its shape and the age: (R, T, 7)."""
        boxes = torch.cat((boxes[..., :2], boxes[..., 2:].clamp(min=SMALLEST_SIDE)), dim=-1)
        now = torch.cat((now[..., :2], now[..., 2:].clamp(min=SMALLEST_SIDE)), dim=-1).unsqueeze(
            1
        )  # (R, 1, 4)
        high = now[..., 3]
        across = (boxes[..., 0] - now[..., 0]) * self.aspect / high
        middle = (boxes[..., 1] - now[..., 1]) / high
        foot = middle + (boxes[..., 3] - now[..., 3]) * 0.5 / high
        moved = torch.stack(
            (
                across.clamp(-4, 4),
                middle.clamp(-4, 4),
                foot.clamp(-4, 4),
                4 * torch.log(boxes[..., 3] / high).clamp(-1, 1),
                4 * torch.log(boxes[..., 2] / now[..., 2]).clamp(-1, 1),
                torch.log(boxes[..., 2] * self.aspect / boxes[..., 3]).clamp(-3, 3),
                age.float() * (1 / 16),
            ),
            dim=-1,
        )
        return moved

    def forward(
        self, tracks: Tensor, clip_feature: Tensor, ring: Tensor, age: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """This frame's features of K tracks (B, K, F) and of the picture (B, F), with rings (B, 1 + K, T-1, F), ages
        i64 and valid (B, 1 + K, T-1): to logits of the tracks (B, K, C) and of the scene (B, C)."""
        k = tracks.shape[1]
        of_tracks = self.clip(
            tracks.flatten(0, 1),
            ring[:, 1:].flatten(0, 1),
            age[:, 1:].flatten(0, 1),
            valid[:, 1:].flatten(0, 1),
            False,
        )  # (B, K, …) -> (B * K, …)
        of_scene = self.clip(clip_feature, ring[:, 0], age[:, 0], valid[:, 0], True)
        return of_tracks.view(-1, k, of_tracks.shape[-1]), of_scene


def _grown(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(times), mode="nearest")
