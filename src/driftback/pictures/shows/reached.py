"""A target as a chain meets it: log p of z at any place, up to a constant, and how much it had to be smoothed for that.

Points have no density. For them stands that of z + h eps, a mixture of as many round Gaussians (Parzen 1962, Annals of
Mathematical Statistics 33), with half of Scott's h = m^(-1/6), which is for a single Gaussian (Scott 1992,
'Multivariate Density Estimation').
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.protocols import Density
from driftback.distributions.target import Target
from driftback.pictures.shows.subject import Subject


@dataclass(frozen=True, eq=False)
class Inside:
    """The `density` of x as one of z, without its constant."""

    density: Density
    about: Subject
    event_shape = (2,)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p of `z` (n, 2) up to a constant, (n,)."""
        return self.density.log_prob(torch.from_numpy(self.about.outside(z)))


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The law of one of `points` (m, 2) and normal noise of deviation `width`."""

    points: Tensor
    width: float
    event_shape = (2,)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p of `z` (n, 2), (n,) nats."""
        apart = torch.cdist(z, self.points, compute_mode="donot_use_mm_for_euclid_dist").square()
        log_sum = torch.logsumexp(apart / (-2 * self.width**2), 1)
        return log_sum - math.log(len(self.points) * 2 * math.pi * self.width**2)


def reached(about: Subject, *, everywhere: bool = False) -> tuple[Target, float]:
    """The density of z, and its smoothing h: 0 where it is known. With `everywhere` it is nowhere 0, so that chains may
    begin anywhere: only a mixture is then as it is.
    """
    if about.law is not None:
        return about.law, 0.0
    if about.known is not None and not everywhere:
        return Inside(about.known, about), 0.0
    width = len(about.cloud) ** (-1 / 6) / 2
    return Smoothed(about.inside(torch.from_numpy(about.cloud)), width), width
