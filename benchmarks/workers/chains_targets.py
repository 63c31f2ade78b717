"""The targets of benchmarks/chains.py, written once for numpy, jax.numpy and torch: the same work for everybody.

Each log-density is one of points (..., d), in nats, up to a constant. driftback takes its own eight schools and
logistic regression (`driftback.distributions.TARGETS`); of the Gaussians it takes the form here, as everybody does,
because its own carry a full covariance even along the axes. All are compared at 20 points before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from driftback.distributions import TARGETS
from driftback.distributions.energies.schools import EFFECTS, ERRORS, SCALE
from driftback.distributions.target import Problem

Density = Callable[[Any], Any]
DIMENSIONS = {"eight-schools": 10, "gaussian": 100, "gaussian-rotated": 100, "logistic": 31}
POINTS = 20


@dataclass(frozen=True)
class Space:
    """A library of arrays: what the log-densities need of it beside operators and methods."""

    array: Callable[[np.ndarray], Any]
    exp: Callable[[Any], Any]
    softplus: Callable[[Any], Any]


# np.logaddexp takes six times as long.
NUMPY = Space(np.asarray, np.exp, lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0.0))
TORCH = Space(torch.from_numpy, torch.exp, torch.nn.functional.softplus)


@cache
def problem(target: str) -> Problem:
    """driftback's own, whose numbers everybody gets and whose quantities are judged."""
    return TARGETS[target]()


def covariance(target: str) -> np.ndarray:
    """A Gaussian's covariance (d, d)."""
    return problem(target).target.covariance.numpy()  # type: ignore[attr-defined]


def precision(target: str) -> np.ndarray:
    """Its inverse, symmetric to the last bit."""
    inverse = np.linalg.inv(covariance(target))
    return (inverse + inverse.T) / 2


def density(target: str, space: Space) -> Density:
    """The log-density of `target` on arrays of `space`."""
    made = {"eight-schools": schools, "gaussian": axes, "gaussian-rotated": rotated, "logistic": logistic}
    return made[target](space)


def schools(space: Space) -> Density:
    """Eight schools, non-centred: (mu, log tau, eta)."""
    effects, errors = space.array(EFFECTS.numpy()), space.array(ERRORS.numpy())
    log_scale = float(np.log(SCALE))

    def log_density(x: Any) -> Any:
        mu, log_tau, eta = x[..., :1], x[..., 1:2], x[..., 2:]
        residual = (effects - mu - space.exp(log_tau) * eta) / errors
        tau = log_tau - space.softplus(2 * (log_tau - log_scale)) - (mu / SCALE) ** 2 / 2
        return tau[..., 0] - (eta**2 + residual**2).sum(-1) / 2

    return log_density


def axes(space: Space) -> Density:
    """N(0, diag(v)), v from 1 to 10,000."""
    half = space.array(0.5 / covariance("gaussian").diagonal())
    return lambda x: -(half * x * x).sum(-1)


def rotated(space: Space) -> Density:
    """The same, turned: one product with the precision matrix."""
    matrix = space.array(precision("gaussian-rotated"))
    return lambda x: -((x @ matrix) * x).sum(-1) / 2


def logistic(space: Space) -> Density:
    """Logistic regression with a standard normal prior."""
    law: Any = problem("logistic").target
    # Both layouts are kept, as ours keeps them: a view that is transposed again and again can cost.
    features, labels = space.array(np.ascontiguousarray(law.features.numpy().T)), space.array(law.labels.numpy())

    def log_density(x: Any) -> Any:
        z = x @ features
        return (labels * z - space.softplus(z)).sum(-1) - (x * x).sum(-1) / 2

    return log_density


def starts(target: str, chains: int, seed: int) -> np.ndarray:
    """Where everybody's chains begin, (chains, d): uniform on (-2, 2), as in Stan."""
    return np.random.default_rng([seed, chains]).uniform(-2, 2, (chains, DIMENSIONS[target]))


def points(target: str) -> np.ndarray:
    """The points (20, d) at which all log-densities have to agree."""
    return np.random.default_rng(0).normal(0, 1.5, (POINTS, DIMENSIONS[target]))


def apart(ours: dict[str, list], theirs: dict[str, list]) -> float:
    """How far log-densities, up to a constant, and gradients (where there are any) differ, relative to their size."""
    mine, other = (np.asarray(one["log_prob"]) for one in (ours, theirs))
    off = [np.abs((mine - mine[0]) - (other - other[0])).max() / max(1.0, np.abs(mine - mine[0]).max())]
    if theirs.get("gradient") is not None:
        mine, other = (np.asarray(one["gradient"]) for one in (ours, theirs))
        off.append(np.abs(mine - other).max() / max(1.0, np.abs(mine).max()))
    # A number that is not finite is as far as can be.
    return float(max(np.nan_to_num(off, nan=np.inf)))
