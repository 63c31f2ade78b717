"""What dissolves order into noise: everything that a way back can be learned for, diffusions and others."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from driftback.distributions.protocols import Source
from driftback.randomness import Rng


@runtime_checkable
class Process(Protocol):
    """A Markov process in t: t = 0 is data and t = 1 is simple, everywhere."""

    @property
    def simple(self) -> Source:
        """The distribution to start the way back from."""
        ...

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given x_0, `x0` (n, *event), at times `t`, () or (n,)."""
        ...

    def bridge(
        self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor, *, rng: Rng | int | None = None
    ) -> Tensor:
        """Draw x_s given x_0 and x_t, for 0 <= s < t <= 1."""
        ...
