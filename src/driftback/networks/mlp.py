"""A residual MLP for points: layers x + W_2 silu(film(W_1 norm(x))) with a conditioning vector scaling every layer.

Each layer's last matrix starts at zero, so that the network starts as a linear map of nothing (Goyal et al. 2017, arXiv
1706.02677, section 5.1; Perez et al. 2018, arXiv 1709.07871, for the scaling).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from driftback.networks.dropout import Dropout


class _Layer(nn.Module):
    def __init__(self, width: int, conditioning: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.film = nn.Linear(conditioning, 2 * width)
        self.dropout = Dropout(dropout)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.film(c).chunk(2, -1)
        return x + self.second(self.dropout(F.silu(self.first(self.norm(x)) * (1 + scale) + shift)))


class MLP(nn.Module):
    """Points (n, before) and vectors (n, conditioning) to points (n, after), through `depth` layers of `width`."""

    def __init__(
        self, before: int, after: int, conditioning: int, *, width: int = 192, depth: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(before, width)
        self.layers = nn.ModuleList(_Layer(width, conditioning, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, after)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.enter(x)
        for layer in self.layers:
            h = layer(h, c)
        return self.leave(F.silu(self.norm(h)))
