"""Attention three ways: plain, biased by how two boxes lie to each other, and through a Gaussian window."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.boxes import iou_cxcywh

MASKED = -1e4  # added to a logit it makes the weight exactly 0 in float32 and bfloat16


class FeedForward(nn.Module):
    """Two linear layers around a ReLU, added and normalised. (..., D) to (..., D)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.down(F.relu(self.up(x))))
        return out


class SelfAttention(nn.Module):
    """Multi-head attention of a set to itself, with an optional additive bias on the logits.

    `placed` (B, N, D) makes queries and keys, `content` (B, N, D) the values; `bias` broadcasts to (B, h, N, N).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, placed: Tensor, content: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.mixed(self.weights(placed, bias), content)

    def weights(self, placed: Tensor, bias: Tensor | None = None) -> Tensor:
        """How much each takes of each: (B, h, N, N), rows sum to 1."""
        n, dim = placed.shape[1:]
        head_dim = dim // self.heads
        query, key = self.query_key(placed).view(-1, n, 2, self.heads, head_dim).unbind(2)
        query, key = query.transpose(1, 2), key.transpose(1, 2)  # (B, N, h, d) -> (B, h, N, d)
        logits = (query * head_dim**-0.5) @ key.transpose(-1, -2)  # (B, h, N, N)
        if bias is not None:
            logits = logits + bias.to(logits.dtype)
        return torch.softmax(logits, dim=-1)

    def mixed(self, weights: Tensor, content: Tensor) -> Tensor:
        """What `weights` make of `content`: (B, N, D)."""
        n, dim = content.shape[1:]
        value = self.value(content).view(-1, n, self.heads, dim // self.heads).transpose(1, 2)
        mixed = weights @ value  # (B, h, N, d)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, n, dim))
        return out


class BoxPairBias(nn.Module):
    """How box j lies as seen from box i, as one number for each attention head. (B, N, 4) to (B, h, N, N).

    Five facts: offset in units of box i, ratio of sizes, and their IoU. Two queries on one object can so see each
    other and settle who keeps it, which is what takes the place of suppression by overlap.
    """

    def __init__(self, heads: int, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Linear(5, hidden)
        self.out = nn.Linear(hidden, heads)

    def forward(self, boxes_cxcywh: Tensor) -> Tensor:
        mine, other = boxes_cxcywh.unsqueeze(2), boxes_cxcywh.unsqueeze(1)  # (B, N, 1, 4), (B, 1, N, 4)
        offset = ((other[..., :2] - mine[..., :2]) / mine[..., 2:]).clamp(-4, 4)
        ratio = torch.log(other[..., 2:] / mine[..., 2:]).clamp(-3, 3)
        facts = torch.cat((offset, ratio, iou_cxcywh(mine, other).unsqueeze(-1)), dim=-1)  # (B, N, N, 5)
        bias: Tensor = self.out(F.relu(self.hidden(facts)))
        return bias.permute(0, 3, 1, 2)  # (B, N, N, h) -> (B, h, N, N)


class GaussianCrossAttention(nn.Module):
    """Queries read a picture's tokens through one Gaussian window a head, and take its vote on where the box is.

    Each head predicts from its query a window: a centre offset and a size, both in units of the query's box. The
    window is separable, so its log is a row plus a column added to the logits. The weights that mix the values also
    mix the dense head's `evidence` of every token (its box, as centre and log size, and its class logits): the mean
    box, relative to the query's own, is the *vote*. It lets a query with a stale box jump to where the object now is.
    """

    xs: Tensor
    ys: Tensor

    def __init__(self, dim: int, heads: int, grid_hw: tuple[int, int], evidence_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.grid_hw = grid_hw
        self.query = nn.Linear(dim, dim)
        self.window = nn.Linear(dim, heads * 4)
        self.out = nn.Linear(dim, dim)
        self.vote = nn.Linear(heads * evidence_dim, dim)
        ys = (torch.arange(grid_hw[0]) + 0.5) / grid_hw[0]
        xs = (torch.arange(grid_hw[1]) + 0.5) / grid_hw[1]
        self.register_buffer("ys", ys, persistent=False)
        self.register_buffer("xs", xs, persistent=False)
        self._spread_heads()

    def _spread_heads(self) -> None:
        """The first head looks at the middle, the others at a ring around it, each half a box wide."""
        nn.init.zeros_(self.window.weight)
        with torch.no_grad():
            offsets = torch.zeros(self.heads, 4)
            for head in range(1, self.heads):
                angle = 2 * math.pi * (head - 1) / (self.heads - 1)
                offsets[head, 0], offsets[head, 1] = 0.4 * math.cos(angle), 0.4 * math.sin(angle)
            offsets[:, 2:] = math.log(0.5)
            self.window.bias.copy_(offsets.flatten())

    def forward(
        self,
        placed: Tensor,
        boxes_cxcywh: Tensor,
        keys: Tensor,
        values: Tensor,
        evidence: Tensor,
        looks: list[Tensor] | None = None,
    ) -> Tensor:
        """`placed` (B, N, D), `boxes_cxcywh` f32 (B, N, 4), `keys`/`values` (B, h, S, d), `evidence` (B, S, E).

        `looks`, where given, gets the weights, their mean over heads: (B, N, S), rows sum to 1.
        """
        n, dim = placed.shape[1:]
        rows, columns = self.grid_hw
        query = self.query(placed).view(-1, n, self.heads, dim // self.heads).transpose(1, 2)  # (B, h, N, d)
        window = self.window(placed).float().view(-1, n, self.heads, 4)
        centre = boxes_cxcywh[:, :, None, :2] + window[..., :2] * boxes_cxcywh[:, :, None, 2:]  # (B, N, h, 2)
        size = torch.exp(window[..., 2:].clamp(-3, 2)) * boxes_cxcywh[:, :, None, 2:]
        floor = torch.stack((self.xs[0], self.ys[0]))  # never narrower than half a cell
        centre, size = centre.transpose(1, 2), (size + floor).transpose(1, 2)  # (B, h, N, 2)
        column = -0.5 * ((self.xs - centre[..., :1]) / size[..., :1]).square()  # (B, h, N, columns)
        row = -0.5 * ((self.ys - centre[..., 1:]) / size[..., 1:]).square()  # (B, h, N, rows)
        logits = (query * (dim // self.heads) ** -0.5) @ keys.transpose(-1, -2)  # (B, h, N, S)
        bias = row.to(logits.dtype).unsqueeze(-1) + column.to(logits.dtype).unsqueeze(-2)
        weights = torch.softmax(logits + bias.flatten(-2), dim=-1)  # (..., rows, columns) -> S
        if looks is not None:
            looks.append(weights.mean(dim=1))
        read = (weights @ values).transpose(1, 2).reshape(-1, n, dim)  # (B, h, N, d) -> (B, N, D)
        mean = weights.reshape(-1, self.heads * n, rows * columns) @ evidence.to(weights.dtype)  # (B, h*N, E)
        mean = mean.view(-1, self.heads, n, evidence.shape[-1]).transpose(1, 2)  # (B, N, h, E)
        out: Tensor = self.out(read) + self.vote(self._relative(mean.float(), boxes_cxcywh).flatten(2))
        return out

    def _relative(self, mean: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """The mean evidence (B, N, h, E) seen from each query's box: offset in box units, ratio of sizes, classes."""
        box = boxes_cxcywh.unsqueeze(2)
        offset = ((mean[..., :2] + 0.5 - box[..., :2]) / box[..., 2:]).clamp(-4, 4)
        ratio = (mean[..., 2:4] - torch.log(box[..., 2:])).clamp(-3, 3)
        return torch.cat((offset, ratio, mean[..., 4:]), dim=-1)
