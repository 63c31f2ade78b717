"""Weighted particles: the normalising constant that they estimate, its error, and whether to believe them.

Z = mean of w, so log Z is the log of a mean, not a mean of logs; its standard error is that of Z divided by Z (the
delta method). n W are trusted as far as Kish's size (sum w)^2 / sum w^2 and the tail of the weights allow: k-hat is the
shape of a Pareto law fitted to the largest ones, and below min(1 - 1 / log10 n, .7) the mean of n weights can be used
(Vehtari et al. 2024, arXiv 1507.02646).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput

FEW = 25
"""A tail of a fifth of fewer weights has under five: no k-hat."""


@dataclass(frozen=True)
class Normaliser:
    """log Z in nats with its standard `error`, Kish's `size` of `n` weights, and the k-hat of their tail.

    `k_hat` is NaN where it cannot be told: with fewer than 25 weights.
    """

    log_z: float
    error: float
    size: float
    n: int
    k_hat: float

    @property
    def limit(self) -> float:
        """What k-hat has to stay below."""
        return min(1 - 1 / math.log10(self.n), 0.7) if self.n > 10 else 0.0

    @property
    def trusted(self) -> bool:
        """Whether the weights are tame enough for log Z, its error and weighted means to be believed."""
        return self.k_hat < self.limit

    @property
    def verdict(self) -> str:
        """One line for a person."""
        told = f"effective size {self.size:.0f} of {self.n}, k-hat {self.k_hat:.2f}"
        if self.trusted:
            error = "its error is not known" if math.isnan(self.error) else f"+- {self.error:.3f}"
            return f"log Z = {self.log_z:.3f}, {error} ({told})"
        return (
            f"log Z = {self.log_z:.3f} is not to be trusted ({told}, the limit is {self.limit:.2f}): a few weights"
            " rule; take a wider reference, more temperatures or more particles"
        )


def checked(log_weights: Tensor) -> Tensor:
    """The `log_weights` (n,) in float64. BadInput where they are NaN, plus infinity, or all of them minus infinity."""
    log_weights = log_weights.detach().double()
    odd = ~(log_weights < torch.inf)
    if bool(odd.any()):
        row = int(odd.nonzero()[0, 0])
        raise BadInput(f"the log-weight of particle {row} is {float(log_weights[row])}; mend the densities there")
    if not bool((log_weights > -torch.inf).any()):
        raise BadInput(
            f"all {len(log_weights)} particles have weight 0: the reference never meets the target's support; begin "
            "with one as wide as the target, by another scale"
        )
    return log_weights


def log_mean(log_weights: Tensor) -> Tensor:
    """log of the mean of w, ()."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def effective(log_weights: Tensor) -> float:
    """Kish's effective size, (sum w)^2 / sum w^2."""
    return float((2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp())


def spread(log_weights: Tensor) -> float:
    """The standard error of log Z from independent weights: that of their mean, over their mean."""
    n = len(log_weights)
    shares = log_weights.softmax(0)
    return float(((shares - 1 / n).square().sum() * n / max(1, n - 1)).sqrt())


def normaliser(log_weights: Tensor, error: float | None = None) -> Normaliser:
    """What `log_weights` (n,) say, with the delta method's `error` unless one is given. BadInput as in `checked`."""
    log_weights = checked(log_weights)
    error = spread(log_weights) if error is None else error
    size, n = effective(log_weights), len(log_weights)
    return Normaliser(float(log_mean(log_weights)), error, size, n, k_hat(log_weights))


def k_hat(log_weights: Tensor) -> float:
    """The shape of the tail of w: minus infinity where the largest weights are all the same, infinity where too few are
    not 0, NaN for fewer than 25 weights.
    """
    if len(log_weights) < FEW:
        return math.nan
    weights = (log_weights - log_weights.max()).exp()
    tail = weights.sort(descending=True).values[: _tail(len(weights)) + 1]
    if float(tail[0] - tail[-2]) <= 1e-12:
        return -math.inf
    if float(tail[-1 - (len(tail) + 1) // 4] - tail[-1]) <= 0:
        # Ties where the tail begins: at 0 only a few weights count; elsewhere the weights are as good as bounded.
        return math.inf if float(tail[-1]) == 0 else -math.inf
    from arviz_stats.base.array import array_stats  # imported when used: it takes a second

    # Not its `log_weights`: that fits the tail of the logarithms (in 0.8.0).
    return float(array_stats.pareto_khat(weights.cpu().numpy()[None], r_eff=1.0, tail="right"))


def _tail(n: int) -> int:
    """How many weights count as the tail."""
    return math.floor(3 * math.sqrt(n)) if n > 225 else n // 5
