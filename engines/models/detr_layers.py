"""DETR's transformer: an encoder over the picture's tokens, a decoder whose queries read them, positions added to both.

Source: Carion et al. 2020, with norms behind each step and no dropout at work; parameter names are the authors'.
Dimensions: B pictures, S tokens, Q queries, D channels. Everything is batch first.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.mha import Looks, MultiHeadAttention


class EncoderLayer(nn.Module):
    """Tokens look at each other. (B, S, D) to (B, S, D), and the weights (B, S, S) if asked for."""

    def __init__(self, dim: int, heads: int, feed_dim: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads)
        self.linear1 = nn.Linear(dim, feed_dim)
        self.linear2 = nn.Linear(feed_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, places: Tensor, padding: Tensor, looks: Looks = "none"
    ) -> tuple[Tensor, Tensor | None]:
        placed = tokens + places
        read, weights = self.self_attn(placed, placed, tokens, padding, looks)
        tokens = self.norm1(tokens + read)
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens)))), weights


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the tokens. (B, Q, D) to (B, Q, D), and weights (B, Q, S) if asked for."""

    def __init__(self, dim: int, heads: int, feed_dim: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads)
        self.multihead_attn = MultiHeadAttention(dim, heads)
        self.linear1 = nn.Linear(dim, feed_dim)
        self.linear2 = nn.Linear(feed_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        hs: Tensor,
        query_places: Tensor,
        memory: Tensor,
        placed_memory: Tensor,
        padding: Tensor,
        looks: Looks = "none",
        ignored_queries: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """`ignored_queries` bool (B, Q), True for rows that no other row may look at (empty track slots)."""
        placed = hs + query_places
        hs = self.norm1(hs + self.self_attn(placed, placed, hs, ignored_queries)[0])
        read, weights = self.multihead_attn(hs + query_places, placed_memory, memory, padding, looks)
        hs = self.norm2(hs + read)
        return self.norm3(hs + self.linear2(F.relu(self.linear1(hs)))), weights


class Encoder(nn.Module):
    """All encoder layers; the weights are the last one's, and their mean over heads."""

    def __init__(self, dim: int, heads: int, feed_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, feed_dim) for _ in range(layers))

    def forward(
        self, tokens: Tensor, places: Tensor, padding: Tensor, attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        weights: Tensor | None = None
        for i, layer in enumerate(self.layers):
            last = attention and i == len(self.layers) - 1
            tokens, weights = layer(tokens, places, padding, "mean" if last else "none")
        return tokens, weights


class Decoder(nn.Module):
    """All decoder layers and the norm behind the last; the weights are the last one's, and their mean over heads."""

    def __init__(self, dim: int, heads: int, feed_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(dim, heads, feed_dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        hs: Tensor,
        query_places: Tensor,
        memory: Tensor,
        places: Tensor,
        padding: Tensor,
        attention: bool = False,
        ignored_queries: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        weights: Tensor | None = None
        placed = memory + places  # keys of every layer
        for i, layer in enumerate(self.layers):
            looks = "mean" if attention and i == len(self.layers) - 1 else "none"
            hs, weights = layer(hs, query_places, memory, placed, padding, looks, ignored_queries)
        return self.norm(hs), weights


class Transformer(nn.Module):
    """Tokens and what is asked of them to the decoder's rows."""

    def __init__(self, dim: int, heads: int, feed_dim: int, encoder_layers: int, decoder_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(dim, heads, feed_dim, encoder_layers)
        self.decoder = Decoder(dim, heads, feed_dim, decoder_layers)

    def forward(
        self, tokens: Tensor, places: Tensor, padding: Tensor, query_places: Tensor, attention: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """`tokens`, `places` (B, S, D); `padding` bool (B, S), True = padding; `query_places` (Q, D).

        To hs (B, Q, D), memory (B, S, D), and with `attention` the last layers' weights: decoder (B, Q, S), encoder
        (B, S, S). Queries start as zeros and, until they have seen a picture, are the same for all: B = 1 there.
        """
        memory, encoder_weights = self.encoder(tokens, places, padding, attention)
        asked = query_places.unsqueeze(0)  # (1, Q, D)
        hs, decoder_weights = self.decoder(torch.zeros_like(asked), asked, memory, places, padding, attention)
        return hs, memory, decoder_weights, encoder_weights


class MLP(nn.Module):
    """`layers` linear layers with a ReLU between: the box head. (..., D) to (..., cout)."""

    def __init__(self, dim: int, hidden: int, cout: int, layers: int) -> None:
        super().__init__()
        widths = [dim, *[hidden] * (layers - 1), cout]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
