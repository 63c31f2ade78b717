"""How far the end of the way forward is from the distribution that the way back starts from: KL(p_T || simple) in nats.

With the exact score and in continuous time the way back starts with this error and never adds to it, so it bounds
KL(data || samples) (Song et al. 2021, arXiv 2101.09258, theorem 1). For a normal p_T it is a formula, for a mixture an
integral; for a cloud of points it is at most the mean of the points' own KL, for KL is convex (Cover and Thomas 2006,
'Elements of Information Theory', theorem 2.7.2). The normal start that is nearest has the moments of p_T.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from driftback.distributions.cloud import Cloud
from driftback.distributions.gaussian import LOG_TWO_PI, Gaussian
from driftback.distributions.mixture import Mixture
from driftback.distributions.protocols import Density, Scored, Source
from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng, as_rng

NODES, REACH = 400, 12.0
"""Nodes of the trapezoidal rule along each axis, and how many deviations beyond its means a mixture is integrated."""

ENTRIES = 1 << 22
"""How many float64 numbers of a precision matrix are held at a time: 32 MiB."""


class Start(Source, Density, Protocol):
    """A distribution to start from: it can be drawn from, and it has a density."""


class Normal(Start, Scored, Protocol):
    """A normal distribution: its log-density is a quadratic, and its score a straight line."""


@dataclass(frozen=True)
class Mismatch:
    """KL(p_T || start) in `nats`; an estimate has the `standard_error` of its draws, the other kinds have 0."""

    nats: float
    standard_error: float
    kind: Literal["exact", "estimate", "upper bound"]


def mismatch_of_gaussian(law: Gaussian, start: Normal) -> Mismatch:
    """KL(law || start) of two normal distributions on (d,), by formula."""
    d, covariance = len(law.mean), law.covariance.double()
    entropy = (d * (1 + LOG_TWO_PI) + float(torch.linalg.slogdet(covariance)[1])) / 2
    # log start is a quadratic: its mean is its value at the mean less half of its curvature times the covariance.
    curvature = sum(float((part * covariance[rows]).sum()) for rows, part in _precision_rows(start, d))
    return Mismatch(curvature / 2 - entropy - float(start.log_prob(law.mean[None])[0]), 0.0, "exact")


def mismatch_by_quadrature(law: Mixture, start: Density) -> Mismatch:
    """KL(law || start) of a mixture on one or two numbers by the trapezoidal rule, to about 1e-7 nats.

    That is for a narrowest component of one cell; with two cells to its deviation 1e-12 is met.

    BadInput in more dimensions, or where a component is too narrow for 400 nodes across the whole mixture.
    """
    d, deviations = law.means.shape[1], law.covariances.diagonal(dim1=1, dim2=2).sqrt()
    low, high = (law.means - REACH * deviations).amin(0), (law.means + REACH * deviations).amax(0)
    narrowest = float(torch.linalg.eigvalsh(law.covariances)[:, 0].amin().clamp(min=0).sqrt())
    if d > 2 or float((high - low).amax()) / NODES > narrowest:
        raise BadInput(
            "this mixture is too narrow, or has too many dimensions, for quadrature; use mismatch_by_sampling"
        )
    axes = [torch.linspace(float(a), float(b), NODES, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, d)
    # The rule is exact beyond all powers of the step for functions as smooth as these, which vanish at the ends.
    cell = math.prod(float(a[1] - a[0]) for a in axes)
    log_p, log_q = law.log_prob(x), start.log_prob(x)
    terms = log_p.exp() * (log_p - log_q)
    return Mismatch(float(terms.sum()) * cell, 0.0, "exact")


def mismatch_by_sampling(law: Mixture, start: Start, n: int = 100_000, *, rng: Rng | int | None = None) -> Mismatch:
    """KL(law || start) in any dimension from `n` >= 2 draws of each, with their standard error.

    The mean over both of 2 (p log(p/q) + q - p) / (p + q), which is never negative, small where the laws are close, and
    of finite variance whichever is wider: in u = log(p/q) it is 2 (u e^u / (1 + e^u) - tanh(u/2)).
    """
    if n < 2:
        raise BadInput(f"{n} draws have no standard error; take 2 or more")
    rng = as_rng(rng)
    draws = law.sample(n, rng=rng.child("law")), start.sample(n, rng=rng.child("start")).double()
    ratios = [law.log_prob(x.flatten(1)) - start.log_prob(x.reshape(n, *start.event_shape)) for x in draws]
    values = [2 * (u * torch.sigmoid(u) - torch.tanh(u / 2)) for u in ratios]
    mean = sum(float(part.mean()) for part in values) / 2
    return Mismatch(mean, math.sqrt(sum(float(part.var()) for part in values) / n) / 2, "estimate")


def mismatch_of_cloud(process: Diffusion, points: Tensor, start: Normal, *, t: float = 1.0) -> Mismatch:
    """At least KL(p_t || start) for data that are these `points` (m, *event): the mean of the points' own KL."""
    alpha, sigma, cloud = float(process.alpha(t)), float(process.sigma(t)), Cloud(points)
    if sigma == 0:
        raise BadInput(f"there is no noise at t = {t}, and a cloud without noise has no density; give a later t")
    d = math.prod(cloud.event_shape)
    entropy = d * (math.log(sigma) + (1 + LOG_TWO_PI) / 2)
    curvature = sigma**2 * sum(float(part.gather(1, rows[:, None]).sum()) for rows, part in _precision_rows(start, d))
    heights = float(start.log_prob(alpha * points.double().reshape(-1, *start.event_shape)).mean())
    return Mismatch(curvature / 2 - entropy - heights, 0.0, "upper bound")


def matched_gaussian(law: Mixture, *, diagonal: bool = False) -> Gaussian:
    """The normal distribution nearest to `law` in KL(law || .): its mean and covariance, or only its variances."""
    mean = law.weights @ law.means
    apart = law.means - mean
    inside = torch.einsum("k,kij->ij", law.weights, law.covariances)
    return _gaussian(mean, inside + (law.weights[:, None] * apart).T @ apart, diagonal)


def matched_to_cloud(process: Diffusion, points: Tensor, *, t: float = 1.0, diagonal: bool = False) -> Gaussian:
    """The normal distribution (d,) with the moments of x_t for data that are these `points` (m, d)."""
    cloud = Cloud(points)
    if len(cloud.event_shape) != 1:
        raise BadInput(f"points of shape {cloud.event_shape} have no covariance matrix; flatten them to (m, d)")
    mean = points.double().mean(0)
    apart, alpha, sigma = points.double() - mean, float(process.alpha(t)), float(process.sigma(t))
    noise = sigma**2 * torch.eye(len(mean), dtype=torch.float64)
    return _gaussian(alpha * mean, alpha**2 * apart.T @ apart / len(points) + noise, diagonal)


def _gaussian(mean: Tensor, covariance: Tensor, diagonal: bool) -> Gaussian:
    return Gaussian(mean, torch.diag(covariance.diagonal()) if diagonal else (covariance + covariance.T) / 2)


def _precision_rows(start: Normal, d: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The matrix P of a straight score -P (x - m), from its values at 0 and at unit vectors: rows, some at a time."""
    if math.prod(start.event_shape) != d:
        raise BadInput(f"a start on {start.event_shape} does not fit a law of {d} numbers; give one of as many")

    def score(x: Tensor) -> Tensor:
        return start.score(x.reshape(-1, *start.event_shape)).flatten(1)

    level = score(torch.zeros(1, d, dtype=torch.float64))
    for rows in torch.arange(d).split(max(1, ENTRIES // d)):
        units = torch.nn.functional.one_hot(rows, d).double()
        yield rows, level - score(units)
