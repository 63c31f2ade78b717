"""Stochastic differential equations dx = drift dt + diffusion dW, and their reverse, which is one of them again.

For dx = f dt + g dW with marginals p_t, every dx = [f - (1 + eta^2)/2 g^2 grad log p_t] dt + eta g dW, run with
negative dt, has the same marginals: eta = 1 is Anderson's reversal (Anderson 1982), eta = 0 the probability-flow ODE
(Song et al. 2021, arXiv 2011.13456, equations 6 and 13), and anything between and beyond mixes the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from driftback.shapes import as_time, per_item


@runtime_checkable
class SDE(Protocol):
    """dx = drift(x, t) dt + diffusion(t) dW with a scalar diffusion coefficient."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """The drift at points `x` (n, *event) and times `t`, () or (n,): the shape of `x`."""
        ...

    def diffusion(self, t: Tensor) -> Tensor:
        """The diffusion coefficient at times `t`, in the shape of `t`; zero for an ODE."""
        ...


@dataclass(frozen=True)
class Reverse:
    """The reverse of `sde` in the forward clock: integrate it from t = 1 down to t = 0.

    `score(x, t)` is grad log p_t; `noise` is eta >= 0 above: 1 Anderson's reversal, 0 the probability-flow ODE.
    """

    sde: SDE
    score: Callable[[Tensor, Tensor], Tensor]
    noise: float = 1.0

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        t = as_time(t, x)
        g2 = self.sde.diffusion(t) ** 2
        return self.sde.drift(x, t) - per_item((1 + self.noise**2) / 2 * g2, x) * self.score(x, t)

    def diffusion(self, t: Tensor) -> Tensor:
        return self.noise * self.sde.diffusion(t)
