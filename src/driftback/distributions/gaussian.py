"""The normal distribution: with a full covariance on flat events, or round on events of any shape.

log p(x) = -(x - m)^T S^-1 (x - m) / 2 - log det(2 pi S) / 2 and grad log p(x) = -S^-1 (x - m)
(Bishop 2006, 'Pattern Recognition and Machine Learning', section 2.3). With P = S^-1 a coordinate given the others is
x_i | x_-i ~ N(x_i - [P (x - m)]_i / P_ii, 1 / P_ii), in which x_i cancels (his equation 2.73).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.shapes import sum_event

LOG_TWO_PI = math.log(2 * math.pi)


def correlated(noise: Tensor, factor: Tensor) -> Tensor:
    """The rows of `noise` (n, d) times `factor`^T (d, d), summed in an order that does not depend on n.

    A matrix product may round a row differently in another batch; item i has to be the same to the last bit.
    """
    out = torch.zeros_like(noise)
    for column, coefficient in zip(factor.T, noise.T, strict=True):
        out += coefficient[:, None] * column
    return out


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, covariance) on flat events: `mean` (d,), `covariance` (d, d) symmetric and positive definite.

    Draws have the dtype and device of `mean`. BadInput if the shapes disagree or the covariance is not as stated.
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        d = len(self.mean) if self.mean.ndim == 1 else -1
        if self.covariance.shape != (d, d):
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.covariance.shape)}"
            raise BadInput(f"a Gaussian's mean and covariance have shapes {shapes}; give (d,) and (d, d)")
        if not torch.allclose(self.covariance, self.covariance.T) or torch.linalg.cholesky_ex(self.covariance).info:
            raise BadInput("a Gaussian's covariance is not symmetric and positive definite; add a small diagonal to it")

    @cached_property
    def _factor(self) -> Tensor:
        return torch.linalg.cholesky(self.covariance.double())

    @cached_property
    def _precision(self) -> Tensor:
        return torch.cholesky_inverse(self._factor)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return tuple(self.mean.shape)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` items, (n, d)."""
        noise = as_rng(rng).normal((n, *self.mean.shape), dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + correlated(noise, self._factor.to(noise.dtype))

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, d), as (n,) float64."""
        factor = self._factor.to(x.device)
        whitened = torch.linalg.solve_triangular(factor, self._centred(x).T, upper=False)
        return -(whitened**2).sum(0) / 2 - factor.diagonal().log().sum() - len(factor) * LOG_TWO_PI / 2

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, d), of its shape and dtype."""
        return -torch.cholesky_solve(self._centred(x).T, self._factor.to(x.device)).T.to(x.dtype)

    def conditional(self, x: Tensor, i: int, *, rng: Rng | int | None = None) -> Tensor:
        """Coordinate `i` drawn given the rest of `x` (n, d), as (n,) of its dtype."""
        row = self._precision[i].to(x.device)
        noise = as_rng(rng).normal((len(x),), dtype=torch.float64, device=x.device)
        centre = x[:, i] - (self._centred(x) * row).sum(1) / row[i]
        return (centre + noise / row[i].sqrt()).to(x.dtype)

    def _centred(self, x: Tensor) -> Tensor:
        return x.double() - self.mean.to(x.device).double()


@dataclass(frozen=True)
class IsotropicGaussian:
    """N(mean, deviation^2 I) on events of any shape, `mean` being one number for all coordinates; draws have `dtype`.

    BadInput unless `deviation` is positive and finite.
    """

    event_shape: tuple[int, ...]
    deviation: float = 1.0
    mean: float = 0.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not (0 < self.deviation < math.inf):
            raise BadInput(f"a Gaussian's deviation is {self.deviation}; it has to be positive and finite")

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` items, (n, *event), on the CPU."""
        return self.mean + self.deviation * as_rng(rng).normal((n, *self.event_shape), dtype=self.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, *event), as (n,) float64."""
        squares = sum_event(((x.double() - self.mean) / self.deviation) ** 2)
        return -squares / 2 - math.prod(self.event_shape) * (math.log(self.deviation) + LOG_TWO_PI / 2)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, *event), of its shape and dtype."""
        return (self.mean - x) / self.deviation**2
