"""Observations whose posterior is known: a mixture of Gaussians seen through a matrix of some rank, and its judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.observed import observed
from driftback.distributions.operators import Matrix
from driftback.randomness import Rng
from workers import mixtures

UNIT = mixtures.SPREAD
"""The data's deviation, by which rivals' data are divided."""
DRAWS, TRUE, DIRECTIONS = 1000, 20_000, 200
"""Draws that are judged, exact ones they are judged by, and directions of the sliced distance."""
NOISE = 0.1
"""A fifth of the data's deviation."""
FLOORS = 20
"""Sets of exact draws that tell the floor."""
TRUTHS, BATCHES, ASKED = 40, 5, 8
"""Truths that are ranked at once among DRAWS / TRUTHS draws each, how often, and in how many directions."""


@dataclass(frozen=True)
class Problem:
    """The mixture of `dimension` and `seed` (`workers.mixtures`), seen through `rank` random directions."""

    dimension: int
    rank: int
    seed: int

    @cached_property
    def prior(self) -> Mixture:
        known = mixtures.Problem(self.dimension, self.seed + 1, 1)
        axes, widths = known.axes[self.seed], known.widths[self.seed]
        return Mixture(known.weights[self.seed], known.means[self.seed], axes * widths[:, None] ** 2 @ axes.mT)

    @cached_property
    def matrix(self) -> Tensor:
        noise = Rng(self.seed).child("matrix", self.rank).normal((self.dimension, self.rank), dtype=torch.float64)
        return torch.linalg.qr(noise)[0].T.contiguous()

    @cached_property
    def y(self) -> Tensor:
        rng = Rng(self.seed).child("y", self.rank)
        x = self.prior.sample(1, rng=rng)[0]
        return self.matrix @ x + NOISE * rng.child("noise").normal((self.rank,), dtype=torch.float64)

    @cached_property
    def truth(self) -> Mixture:
        return observed(self.prior, self.matrix, self.y, NOISE)

    @cached_property
    def seen(self) -> Observation:
        return Observation(Matrix(self.matrix), self.y, NOISE, (self.dimension,))

    @cached_property
    def exact(self) -> Tensor:
        return self.sorted(self.truth.sample(TRUE, rng=99))

    @cached_property
    def directions(self) -> Tensor:
        u = Rng(1).child("directions").normal((DIRECTIONS, self.dimension), dtype=torch.float64)
        return u / u.norm(dim=1, keepdim=True)

    def sorted(self, x: Tensor) -> Tensor:
        """Projections on the directions, each in order: (directions, n)."""
        return (self.directions @ x.double().T).sort(1).values

    def distance(self, x: Tensor) -> float:
        """The sliced Wasserstein-1 distance to the exact draws."""
        mine = self.sorted(x)
        places = ((torch.arange(TRUE) + 0.5) / TRUE * mine.shape[1]).long()
        return float((mine[:, places] - self.exact).abs().mean())

    @cached_property
    def floor(self) -> float:
        """The mean of the same for exact draws."""
        return sum(self.distance(self.truth.sample(DRAWS, rng=k)) for k in range(FLOORS)) / FLOORS

    def judged(self, x: Tensor) -> dict:
        """Everything that is told of draws (n, d)."""
        truth, x = self.truth, x.double()
        mean = truth.weights @ truth.means
        covariance = torch.einsum("k,kij->ij", truth.weights, truth.covariances) + torch.einsum(
            "k,ki,kj->ij", truth.weights, truth.means - mean, truth.means - mean
        )
        scale = covariance.diagonal().sum().sqrt()
        centred = x - x.mean(0)
        found = centred.T @ centred / len(x)
        shares = truth.responsibilities(x).mean(0)
        return {
            "distance": self.distance(x) / self.floor,
            "mean": float((x.mean(0) - mean).norm() / scale),
            "spread": float((found.diagonal().sum() / covariance.diagonal().sum()).sqrt()),
            "covariance": float((found - covariance).norm() / covariance.norm()),
            "weights": float((shares - truth.weights).abs().sum() / 2),
            "finite": bool(torch.isfinite(x).all()),
        }


@dataclass(frozen=True)
class Joint(Problem):
    """`TRUTHS` draws of the prior, each seen by itself, and `DRAWS` / `TRUTHS` draws asked for after each, those of one
    truth together. `batch` tells such sets apart.
    """

    batch: int = 0

    @cached_property
    def truths(self) -> Tensor:
        return self.prior.sample(TRUTHS, rng=Rng(self.seed).child("truths", self.batch))

    @cached_property
    def ys(self) -> Tensor:
        noise = Rng(self.seed).child("ys", self.batch).normal((TRUTHS, self.rank), dtype=torch.float64)
        return self.truths @ self.matrix.T + NOISE * noise

    @cached_property
    def seen(self) -> Observation:
        y = self.ys.repeat_interleave(DRAWS // TRUTHS, 0)
        return Observation(Matrix(self.matrix), y, NOISE, (self.dimension,))


Draw = Callable[[Problem, dict, Rng], tuple[Tensor, float]]
"""Draws (n, d), and evaluations of the denoiser with backward passes counted as one each."""
