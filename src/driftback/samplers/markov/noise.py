"""The noise of Markov chains: what chain i is handed in its move k hangs on the key, i and k, and on nothing else.

So a chain is the same beside however many others, and one that runs ahead of the others takes nothing from them. A
generator call costs more than a few numbers do, so those of several moves are drawn at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from driftback.randomness import Rng

AHEAD, NUMBERS = 64, 1024
"""So many moves are drawn for at once at most, and about so many numbers of one chain."""
_Blocks = dict[tuple[str, int], Tensor]
_Others = dict[tuple[str, int], _Blocks]


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise for `n` chains on `device`, seen from move `k`. Uniform numbers are float64, in [0, 1)."""

    rng: Rng
    n: int
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    k: int = 0
    kept: _Blocks = field(default_factory=dict, repr=False)
    others: _Others = field(default_factory=dict, repr=False)

    def at(self, k: int) -> Noise:
        """The same noise, seen from move `k`."""
        return Noise(self.rng, self.n, self.dtype, self.device, k, self.kept, self.others)

    def rows(self, name: str, n: int) -> Noise:
        """Noise for `n` rows of another kind in the same move, under a key of their own."""
        kept = self.others.setdefault((name, n), {})
        return Noise(self.rng.child(name), n, self.dtype, self.device, self.k, kept)

    def normal(self, name: str, event: Sequence[int] = ()) -> Tensor:
        """Standard normal numbers (n, *event) of the dtype, for this move."""
        block, place, ahead = self._place(event)
        return self._drawn(name, block, event, ahead, normal=True)[:, place]

    def uniform(self, name: str, event: Sequence[int] = ()) -> Tensor:
        """Uniform numbers (n, *event) for this move."""
        block, place, ahead = self._place(event)
        return self._drawn(name, block, event, ahead, normal=False)[:, place]

    def shared(self, name: str) -> Rng:
        """A key for what all chains have in common in this move."""
        return Rng(self.rng.seed, self.rng.names).child(name, self.k)

    def of(self, rows: Tensor, moves: Tensor, name: str, event: Sequence[int], *, normal: bool) -> Tensor:
        """The noise of the chains `rows` (m,), each in its own of the `moves` (m,): (m, *event)."""
        ahead = self._place(event)[2]
        blocks = torch.div(moves, ahead, rounding_mode="floor")
        out = torch.empty((len(rows), *event), dtype=self.dtype if normal else torch.float64, device=self.device)
        for block in blocks.unique().tolist():
            there = (blocks == block).nonzero()[:, 0]
            drawn = self._drawn(name, block, event, ahead, normal=normal)
            out[there] = drawn[rows[there], moves[there] % ahead]
        return out

    def _place(self, event: Sequence[int]) -> tuple[int, int, int]:
        ahead = max(1, min(AHEAD, NUMBERS // max(1, math.prod(event))))
        return self.k // ahead, self.k % ahead, ahead

    def _drawn(self, name: str, block: int, event: Sequence[int], ahead: int, *, normal: bool) -> Tensor:
        if (name, block) not in self.kept:
            # A block that has been left behind is not needed again: the chains are never far from one another.
            for old in [key for key in self.kept if key[0] == name and key[1] < block - 3]:
                del self.kept[old]
            key = self.rng.child(name, block)
            draw, dtype = (key.normal, self.dtype) if normal else (key.uniform, torch.float64)
            self.kept[name, block] = draw((self.n, ahead, *event), dtype=dtype, device=self.device)
        return self.kept[name, block]
