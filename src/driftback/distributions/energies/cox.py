"""A log-Gaussian Cox process on a grid: counts of points whose log-intensity is a Gaussian field; strongly correlated.

x ~ N(mu 1, S), S_ij = s^2 exp(-|r_i - r_j| / beta) for cell centres r in the unit square, and counts
y_i ~ Poisson(a e^x_i), a = 1 / M^2 the area of a cell; s^2 = 1.91, beta = 1/33, mu = log 126 - s^2 / 2, so that 126
points are expected (Møller, Syversveen and Waagepetersen 1998; Girolami and Calderhead 2011, with M = 64 and pines
in Finland). Here M = 16 and the counts are drawn from the model, from a fixed key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.gaussian import Gaussian
from driftback.distributions.target import Problem, Truth
from driftback.randomness import Rng

VARIANCE, RANGE, EXPECTED = 1.91, 1 / 33, 126.0


@dataclass(frozen=True, eq=False)
class Cox:
    """The posterior of the log-intensity (M * M,) given `counts` (M * M,), row by row.

    It is `prior` times exp(`log_likelihood`), both normalised: what elliptical slice sampling takes apart.
    """

    counts: Tensor

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(M * M,)."""
        return tuple(self.counts.shape)

    @cached_property
    def prior(self) -> Gaussian:
        """The field's law, float64."""
        return field(math.isqrt(len(self.counts)))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log P(counts | x) in nats at `x` (n, M * M), as (n,) of its dtype."""
        counts = self.counts.to(x)
        return (counts * (x - math.log(len(counts))) - x.exp() / len(counts) - torch.lgamma(counts + 1)).sum(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log of prior times likelihood, in nats, at `x` (n, M * M), as (n,) float64."""
        return self.prior.log_prob(x) + self.log_likelihood(x)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, M * M), of its shape and dtype."""
        return self.prior.score(x) + self.counts.to(x) - x.exp() / len(self.counts)


def field(size: int) -> Gaussian:
    """The Gaussian field on `size` x `size` cells, flattened."""
    line = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    places = torch.cartesian_prod(line, line)
    covariance = VARIANCE * torch.exp(-torch.cdist(places, places) / RANGE)
    mean = torch.full((size * size,), math.log(EXPECTED) - VARIANCE / 2, dtype=torch.float64)
    return Gaussian(mean, covariance)


def cox(size: int = 16, *, seed: int = 0) -> Problem:
    """The process on `size` x `size` cells, with counts that are drawn from the model with `seed`."""
    rng = Rng(seed).child("cox")
    intensity = field(size).sample(1, rng=rng.child("field"))[0].exp() / size**2
    counts = rng.child("counts").generator().poisson(intensity.numpy())
    return Problem(
        Cox(torch.from_numpy(counts).double()),
        "cox",
        Truth(source="unknown; log-concave, so it has one mode"),
        source="Møller, Syversveen and Waagepetersen 1998; 16 x 16 cells and generated counts are ours",
    )
