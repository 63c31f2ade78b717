"""A text encoder that is trained along: tokens with learned places, a small transformer, and a mean by attention.

h = x + A(norm(x)), x = h + M(norm(h)) (Vaswani et al. 2017, arXiv 1706.03762; norms first, Xiong et al. 2020, arXiv
2002.04745); the vector is sum_i softmax_i(s . h_i) h_i (Yang et al. 2016, 'Hierarchical attention networks'). A token
that every caption starts with is always there, and alone it is 'no caption'.

A word that occurs once in training is a token of its own, and would leave its pieces untrained: there it is spelt by
them in a share of the captions. To a linear map it is told by its pieces alone: as a number of its own it would be the
number of an item, and what is fitted to it known by heart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftback.errors import BadInput

SPELT = 0.2
"""The share of training captions whose rare words are spelt."""
PADDING, UNKNOWN = 0, 1
"""The token where a caption has ended, and that of a sign which no training caption has."""


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look = nn.Linear(width, 3 * width)
        self.gather = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.look(self.before(x)).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None, :])
        x = x + self.gather(seen.transpose(1, 2).reshape(n, length, width))
        return x + self.think(self.between(x))


class TextEncoder(nn.Module):
    """Tokens (n, length) int64 in [0, tokens), 0 where a caption has ended, to vectors (n, width).

    A row of zeros is 'no caption'. `spelling` (tokens, longest) int64, or None, says which tokens stand for each where
    rare words are spelt, padded with 0; the last `rare` tokens are these words. `inner` is the width of the
    transformer, `depth` its layers.
    """

    spelling: Tensor | None

    def __init__(
        self,
        tokens: int,
        length: int,
        width: int,
        *,
        spelling: Tensor | None = None,
        rare: int = 0,
        inner: int = 96,
        depth: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.register_buffer("spelling", spelling, persistent=False)
        self.row: tuple[int, ...] = (length,)
        self.tokens, self.features = tokens, tokens - rare
        self.word = nn.Embedding(tokens, inner)
        self.place = nn.Parameter(torch.empty(length + 1, inner))
        # Small beside what training moves them by: a word that is rarely seen is moved rarely.
        nn.init.normal_(self.word.weight, std=0.02)
        nn.init.normal_(self.place, std=0.01)
        self.layers = nn.ModuleList(_Layer(inner, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(inner)
        self.weigh = nn.Linear(inner, 1)
        self.leave = nn.Linear(inner, width)
        with torch.no_grad():
            # What is never trained must not shout: a sign that no caption has is known by its place alone.
            self.word.weight[[PADDING, UNKNOWN]] = 0.0
            # Captions differ about as much as rows of a table of classes from the start.
            self.leave.weight *= 3.0

    def none(self, n: int, device: torch.device) -> Tensor:
        return torch.zeros((n, *self.row), dtype=torch.int64, device=device)

    def dropped(self, y: Tensor, u: Tensor, share: float) -> Tensor:
        """Nothing where u < share, and rare words by their pieces where u >= 1 - SPELT."""
        if self.spelling is not None:
            y = torch.where((u >= 1 - SPELT)[:, None], self._spelt(self.spelling, y), y)
        return torch.where((u < share)[:, None], PADDING, y)

    def _spelt(self, spelling: Tensor, y: Tensor) -> Tensor:
        """Every token's pieces, one after the other, as many as there is room for."""
        pieces = spelling.to(y.device)[y].flatten(1)
        order = (pieces == PADDING).byte().argsort(stable=True, dim=1)
        return pieces.gather(1, order)[:, : self.row[0]]

    def refuse(self, y: Tensor) -> None:
        if y.shape[-1:] != self.row or y.dtype != torch.int64:
            raise BadInput(f"tokens of shape {tuple(y.shape)} were given; give {self.row[0]} whole numbers per item")
        if bool(((y < 0) | (y >= self.tokens)).any()):
            raise BadInput(
                f"a token outside 0 .. {self.tokens - 1} was asked for; this model knows {self.tokens} tokens"
            )

    def described(self, y: Tensor) -> Tensor:
        """Which tokens there are where rare words are spelt, whatever their number and order."""
        y = y if self.spelling is None else self._spelt(self.spelling, y)
        there = self.word.weight.new_zeros(len(y), self.features).scatter_(1, y.to(self.word.weight.device), 1.0)
        there[:, [PADDING, UNKNOWN]] = 0.0
        return there

    def forward(self, y: Tensor) -> Tensor:
        x = F.pad(self.word(y), (0, 0, 1, 0)) + self.place
        there = F.pad(y != PADDING, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, there)
        x = self.norm(x)
        share = self.weigh(x)[..., 0].masked_fill(~there, -torch.inf).softmax(-1)
        return self.leave((share[..., None] * x).sum(1))
