"""Longformer's encoder as dense attention under a band mask: the same numbers, and every backend compiles it.

Source: Beltagy et al. 2020; numbers as in `transformers`' LongformerModel, whose own sliding chunks cannot be exported
rightly. A token sees the tokens at most `window / 2` places away and the class token; the class token sees all, and for
that has queries, keys and values of its own ("global"). Tokens that hold nothing are hidden from all others.

Dimensions: B clips, T frames, N = 1 + T tokens with the class token first, D width, h heads, d = D / h.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import MASKED

EPS = 1e-12  # of every layer norm


class BandAttention(nn.Module):
    """Local attention for the frames, global for the class token: (B, N, D) to (B, N, D)."""

    band: Tensor

    def __init__(self, dim: int, heads: int, frames: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.query_global = nn.Linear(dim, dim)
        self.key_global = nn.Linear(dim, dim)
        self.value_global = nn.Linear(dim, dim)
        self.register_buffer("band", band_mask(frames, window), persistent=False)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """`hidden` (B, 1, 1, N) is MASKED at tokens nobody may see, else 0."""
        among = self._mix(
            self.query(x[:, 1:]), self.key(x), self.value(x), hidden + self.band
        )  # (B, T, D): what the frames read
        whole = self._mix(self.query_global(x[:, :1]), self.key_global(x), self.value_global(x), hidden)
        return torch.cat((whole, among), dim=1)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """(B, M, D) queries, (B, N, D) keys and values, `bias` that broadcasts to (B, h, M, N); to (B, M, D)."""
        dim = query.shape[-1]
        split = (self.heads, dim // self.heads)
        q, k, v = (
            t.view(-1, t.shape[1], *split).transpose(1, 2) for t in (query, key, value)
        )  # (B, h, ., d)
        weights = torch.softmax((q * split[1] ** -0.5) @ k.transpose(-1, -2) + bias, dim=-1)
        mixed: Tensor = (
            (weights @ v).transpose(1, 2).reshape(-1, query.shape[1], dim)
        )  # (B, h, M, d) -> (B, M, D)
        return mixed


class BandLayer(nn.Module):
    """Attention, then two linear layers around a GELU; each is added and then normalised (post-norm, as BERT's)."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, frames: int, window: int) -> None:
        super().__init__()
        self.attention = BandAttention(dim, heads, frames, window)
        self.out = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.up = nn.Linear(dim, mlp_dim)
        self.down = nn.Linear(mlp_dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        x = self.norm1(self.out(self.attention(x, hidden)) + x)
        out: Tensor = self.norm2(self.down(F.gelu(self.up(x))) + x)
        return out


class TemporalEncoder(nn.Module):
    """Frames' features and their places in time to tokens, the class token first.

    `positions` rows are learned: the last is for frames that are not there, the one before for the class token, the
    others for places in time, which repeat after their number.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        mlp_dim: int,
        frames: int,
        window: int,
        positions: int,
    ) -> None:
        super().__init__()
        self.places = positions - 2
        self.position = nn.Embedding(positions, dim)
        self.kind = nn.Embedding(2, dim)  # row 1 for the class token, row 0 for frames
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.layers = nn.ModuleList(BandLayer(dim, heads, mlp_dim, frames, window) for _ in range(depth))

    def forward(self, class_token: Tensor, features: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """`class_token` (1, 1, D), `features` (B, T, D), `positions` i64 (B, T) 0 or more, `valid` f32 (B, T), 1 or 0;
        to (B, 1 + T, D). Tokens of frames that are not valid carry no meaning and change no other."""
        there = valid > 0.5
        place = torch.where(there, positions % self.places, self.places + 1)  # (B, T)
        frames = features * valid.unsqueeze(-1) + self.position(place) + self.kind.weight[:1]
        first = class_token + self.position.weight[self.places : self.places + 1] + self.kind.weight[1:]
        first = first.expand(features.shape[0], -1, -1)
        x: Tensor = self.norm(torch.cat((first, frames), dim=1))
        hidden = F.pad((1 - valid) * MASKED, (1, 0))[:, None, None, :]  # (B, T) -> (B, 1, 1, N)
        for layer in self.layers:
            x = layer(x, hidden)
        return x


def band_mask(frames: int, window: int) -> Tensor:
    """f32 (T, 1 + T): 0 where frame i may see the token of column j, else MASKED; column 0 is the class token's."""
    place = torch.arange(frames)
    near = (place[:, None] - place[None, :]).abs() <= window // 2
    mask: Tensor = F.pad((~near).float() * MASKED, (1, 0))
    return mask
