"""Multi-head attention whose weights can be looked at, under the names that `torch.nn.MultiheadAttention` gives them.

Source: Vaswani et al. 2017. Written out as products and a softmax, so that it exports to plain MatMul and Softmax and
every backend fuses it in its own way.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import MASKED

Looks = Literal["none", "mean", "heads"]


class MultiHeadAttention(nn.Module):
    """`query` (B, N, D) attends to `key`, `value` (B, S, D); batch first.

    `ignored` bool (B, S), True = ignore (torch's key_padding_mask): such keys get the weight 0 exactly, as long as a
    picture has one that is not ignored. If it has none, the weights are those of no mask and never NaN. A side that is
    the same for every picture may have B = 1.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} channels")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, ignored: Tensor | None = None, looks: Looks = "none"
    ) -> tuple[Tensor, Tensor | None]:
        """To the answer (B, N, D) and the weights: as `looks` asks none, their mean (B, N, S), or (B, h, N, S)."""
        n, dim = map(int, query.shape[1:])  # plain numbers: a tracer would keep them as tensors
        weights = self.weights(query, key, ignored)  # (B, h, N, S)
        values = self._heads(F.linear(value, self.in_proj_weight[2 * dim :], self.in_proj_bias[2 * dim :]))
        mixed = (weights @ values).transpose(1, 2).reshape(-1, n, dim)  # (B, h, N, d) -> (B, N, D)
        answer: Tensor = self.out_proj(mixed)
        if looks == "none":
            return answer, None
        return answer, weights.mean(dim=1) if looks == "mean" else weights

    def weights(self, query: Tensor, key: Tensor, ignored: Tensor | None = None) -> Tensor:
        """How much each query takes of each key: (B, h, N, S), rows sum to 1."""
        dim = int(query.shape[-1])
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key:  # one product instead of two
            both = F.linear(query, weight[: 2 * dim], bias[: 2 * dim])
            queries, keys = both[..., :dim], both[..., dim:]
        else:
            queries = F.linear(query, weight[:dim], bias[:dim])
            keys = F.linear(key, weight[dim : 2 * dim], bias[dim : 2 * dim])
        queries, keys = self._heads(queries), self._heads(keys)
        logits = (queries * (dim // self.heads) ** -0.5) @ keys.transpose(-1, -2)  # (B, h, N, S)
        if ignored is not None:
            logits = logits + (ignored.to(logits.dtype) * MASKED)[:, None, None, :]
        return torch.softmax(logits, dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        n, dim = map(int, x.shape[1:])
        return x.reshape(-1, n, self.heads, dim // self.heads).transpose(1, 2)  # (B, N, D) -> (B, h, N, d)
