"""Gibbs sampling: redraw one coordinate, or one block, from its law given all others, and go on to the next.

Each update leaves p invariant, and so does any order of them that does not look at the point: all in turn, or at random
(Geman and Geman 1984, IEEE Transactions on Pattern Analysis and Machine Intelligence 6). Nothing is ever refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov.energy import BadDensity, Energy, told
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State


class Block(Protocol):
    """Redraws a part of the points given the rest. It may overwrite the points that it is handed."""

    def __call__(self, x: Tensor, *, rng: Rng) -> Tensor:
        """`x` (n, *event) with its part redrawn; row i's randomness is item i of `rng`."""
        ...


@dataclass(frozen=True)
class Site:
    """Coordinate `i` of the flattened event, from `conditional(x, i, rng=...)` -> (n,)."""

    conditional: Callable[..., Tensor]
    i: int

    def __call__(self, x: Tensor, *, rng: Rng) -> Tensor:
        drawn = self.conditional(x, self.i, rng=rng)
        if not isinstance(drawn, Tensor) or drawn.shape != (len(x),):
            got = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
            raise BadInput(f"conditional gave {got} for coordinate {self.i}; return one number per chain, ({len(x)},)")
        flat = x.flatten(1)
        flat[:, self.i] = drawn.to(x.dtype)
        return flat.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class Gibbs:
    """`updates` of `blocks` in a move, in turn or, where it is `random`, each of any block, the same for all chains.

    By default the blocks are the target's own `conditional`, coordinate by coordinate, and a move has as many updates
    as there are blocks: a sweep. BadInput where there is nothing to update.
    """

    energy: Energy
    blocks: Sequence[Block] | None = None
    random: bool = False
    updates: int | None = None

    @cached_property
    def parts(self) -> Sequence[Block]:
        """The blocks, given or the target's own."""
        conditional = self.energy.ability("conditional")
        if self.blocks:
            return self.blocks
        if self.blocks is not None or conditional is None:
            raise BadInput("Gibbs has nothing to draw from: give blocks, or a target with conditional(x, i, rng=...)")
        return [Site(conditional, i) for i in range(prod(self.energy.event_shape))]

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event)."""
        if self.updates is not None and self.updates < 1:
            raise BadInput(f"Gibbs got {self.updates} updates a move; give 1 or more")
        _ = self.parts
        return self.energy.begin(x, sloped=False)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """So many updates, and one evaluation of log p where they end."""
        count = len(self.parts) if self.updates is None else self.updates
        x, shape = state.x.clone(), state.x.shape
        for update, block in enumerate(self._order(noise, count)):
            x = self.parts[block](x, rng=noise.rng.child("gibbs", noise.k, update))
            if x.shape != shape:
                raise BadInput(
                    f"block {block} made points of shape {tuple(x.shape)} from {tuple(shape)}; keep the shape"
                )
        log_prob = self.energy.value(x)
        outside = (log_prob == -torch.inf).nonzero()
        if len(outside):
            chain = int(outside[0, 0])
            raise BadDensity(f"a conditional drew chain {chain} out of the support, to {told(x[chain])}; mend it there")
        return State(x, log_prob), Move(torch.ones_like(log_prob, dtype=torch.bool), torch.ones_like(log_prob))

    def _order(self, noise: Noise, count: int) -> list[int]:
        blocks = len(self.parts)
        if self.random:
            return (noise.shared("block").uniform((count,), dtype=torch.float64) * blocks).long().tolist()
        # Where a move has fewer updates than there are blocks, the next one goes on where this one ends.
        return [(noise.k * count + update) % blocks for update in range(count)]
