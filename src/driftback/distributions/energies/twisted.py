"""Two bent Gaussians: Neal's funnel, whose width changes by orders of magnitude, and Haario's banana.

Funnel: v ~ N(0, s^2), x_i | v ~ N(0, e^v) with s = 3 (Neal 2003, 'Slice sampling', arXiv physics/0009028).
Banana: x_1 ~ N(0, s^2), x_2 = y - b (x_1^2 - s^2) with y ~ N(0, 1), a map of unit Jacobian, with s = 10 and b = 0.1,
'strongly twisted' (Haario, Saksman and Tamminen 1999, 'Adaptive proposal distribution for random walk Metropolis').
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.target import Problem, Truth
from driftback.randomness import Rng, as_rng


@dataclass(frozen=True)
class Funnel:
    """v ~ N(0, deviation^2), then `dimension` - 1 coordinates N(0, e^v). Normalised; draws are float64."""

    dimension: int = 10
    deviation: float = 3.0

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dimension,)."""
        return (self.dimension,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, d)."""
        noise = as_rng(rng).normal((n, self.dimension), dtype=torch.float64)
        v = self.deviation * noise[:, :1]
        return torch.cat([v, torch.exp(v / 2) * noise[:, 1:]], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, d), as (n,) of its dtype."""
        v, rest = x[:, 0], x[:, 1:]
        # The factor is halved before it is squared, so that less overflows.
        squares = ((rest * torch.exp(-v / 2)[:, None]) ** 2).sum(1)
        constant = self.dimension * LOG_TWO_PI / 2 + math.log(self.deviation)
        return -((v / self.deviation) ** 2) / 2 - squares / 2 - (self.dimension - 1) * v / 2 - constant

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, d), of its shape and dtype."""
        v, rest = x[:, :1], x[:, 1:]
        pull = rest * torch.exp(-v)
        neck = -v / self.deviation**2 + (rest * pull).sum(1, keepdim=True) / 2 - (self.dimension - 1) / 2
        return torch.cat([neck, -pull], 1)


@dataclass(frozen=True)
class Banana:
    """x_1 ~ N(0, deviation^2), x_2 + twist (x_1^2 - deviation^2) ~ N(0, 1). Normalised; draws are float64."""

    deviation: float = 10.0
    twist: float = 0.1

    event_shape = (2,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, 2)."""
        noise = as_rng(rng).normal((n, 2), dtype=torch.float64)
        along = self.deviation * noise[:, 0]
        return torch.stack([along, noise[:, 1] - self._bend(along)], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, 2), as (n,) of its dtype."""
        across = x[:, 1] + self._bend(x[:, 0])
        return -((x[:, 0] / self.deviation) ** 2 + across**2) / 2 - LOG_TWO_PI - math.log(self.deviation)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, 2), of its shape and dtype."""
        across = x[:, 1] + self._bend(x[:, 0])
        along = -x[:, 0] / self.deviation**2 - 2 * self.twist * x[:, 0] * across
        return torch.stack([along, -across], 1)

    def _bend(self, along: Tensor) -> Tensor:
        return self.twist * (along**2 - self.deviation**2)


def funnel(dimension: int = 10) -> Problem:
    """The funnel with deviation 3 at its neck. Its quantities are v and log |x_i|.

    x_i itself has E x_i^4 = 3 e^(2 s^2), 2e8, and no number of draws judges its deviation; log |x_i| = v / 2 + log |z|
    with z ~ N(0, 1) has mean -(gamma + log 2) / 2 and variance s^2 / 4 + pi^2 / 8.
    """
    law = Funnel(dimension)
    euler = 0.5772156649015329
    mean = torch.full((dimension,), -(euler + math.log(2)) / 2, dtype=torch.float64)
    deviation = torch.full((dimension,), math.sqrt(law.deviation**2 / 4 + math.pi**2 / 8), dtype=torch.float64)
    mean[0], deviation[0] = 0, law.deviation
    return Problem(
        law,
        "funnel",
        Truth(0.0, mean, deviation),
        names=("v", *(f"log|x{i}|" for i in range(1, dimension))),
        quantities=lambda x: torch.cat([x[:, :1], x[:, 1:].abs().log()], 1),
        source="Neal 2003, 'Slice sampling'; ten dimensions and log Z = 0 as in arXiv 2111.15141",
    )


def banana() -> Problem:
    """The banana with s = 10 and b = 0.1 in the plane: means 0, deviations s and sqrt(1 + 2 b^2 s^4) = 14.18."""
    law = Banana()
    spread = [law.deviation, math.sqrt(1 + 2 * law.twist**2 * law.deviation**4)]
    truth = Truth(0.0, torch.zeros(2, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64))
    return Problem(law, "banana", truth, source="Haario, Saksman and Tamminen 1999; two of their eight dimensions")
