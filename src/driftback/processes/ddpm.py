"""DDPM's chain of T noising steps as a view of a continuous schedule, exact in both directions.

Ho et al. have x_k = sqrt(1 - beta_k) x_{k-1} + sqrt(beta_k) eps, so x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps with
abar_k = prod_{i<=k} (1 - beta_i) (Ho et al. 2020, arXiv 2006.11239, equations 2 and 4). Here log abar runs in
straight lines between the times t = k / T: a variance-preserving SDE whose beta(t) is constant within each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.schedules import Schedule


def linear_betas(steps: int = 1000, low: float = 1e-4, high: float = 0.02) -> Tensor:
    """Ho et al.'s betas, float64 (steps,): from `low` to `high` in equal steps (section 4)."""
    return torch.linspace(low, high, steps, dtype=torch.float64)


def betas_of(schedule: Schedule, steps: int, *, largest: float = 0.999) -> Tensor:
    """The betas, float64 (steps,), of the chain whose ratios sigma / alpha at t = k / steps are those of `schedule`.

    A schedule that does not preserve variance is scaled by 1 / sqrt(alpha^2 + sigma^2), which changes no ratio. Where
    alpha(1) = 0 the last beta would be 1; it is cut at `largest` (Nichol and Dhariwal 2021, arXiv 2102.09672, 3.2).
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    log_kept = -torch.log1p((schedule.sigma(t) / schedule.alpha(t)) ** 2)
    return -torch.expm1(torch.diff(log_kept, prepend=log_kept.new_zeros(1))).clamp(min=-largest)


@dataclass(frozen=True, eq=False)
class DiscreteChain:
    """The schedule of a DDPM with `betas` (T,) in (0, 1), beta_1 first; step k of the paper is the time t = k / T.

    alpha(k / T)^2 = abar_k to rounding. BadInput unless every beta is inside (0, 1).
    """

    betas: Tensor

    def __post_init__(self) -> None:
        if self.betas.ndim != 1 or len(self.betas) == 0 or not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise BadInput("a DDPM's betas have to be a row of numbers inside (0, 1); cut a last beta of 1 at .999")

    @cached_property
    def log_kept(self) -> Tensor:
        """log abar_k for k = 0 ... T, float64 (T + 1,)."""
        steps = torch.log1p(-self.betas.double())
        return torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    @property
    def times(self) -> Tensor:
        """The chain's own grid for the way back, T / T ... 0 / T, float64 (T + 1,)."""
        return torch.arange(len(self.betas), -1, -1, dtype=torch.float64) / len(self.betas)

    def _log_kept_at(self, t: Tensor) -> Tensor:
        knots = self.log_kept.to(t.device)
        place = t * len(self.betas)
        # k / T * T may miss k by a rounding error, which a steep last step would show; 0 it cannot miss, and there a
        # time that is rounded away would leave sigma^2 without its slope.
        near = place.detach().round()
        missed = (near > 0) & ((place - near).abs() < 1e-9)
        place = torch.where(missed, near + (place - place.detach()), place)
        k = place.detach().floor().long().clamp(0, len(self.betas) - 1)
        return knots[k] + (place - k) * (knots[k + 1] - knots[k])

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(abar) at times `t` in [0, 1], float64."""
        return torch.exp(self._log_kept_at(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - abar) at times `t` in [0, 1], float64."""
        return torch.sqrt(-torch.expm1(self._log_kept_at(t)))

    def time_of(self, ratio: Tensor) -> Tensor:
        """The time at which sigma / alpha equals `ratio`, in [0, 1]; ratios beyond the chain's end give 1."""
        falling, knots = torch.log1p(ratio**2), -self.log_kept.to(ratio.device)
        k = (torch.searchsorted(knots, falling.contiguous(), right=True) - 1).clamp(0, len(self.betas) - 1)
        return ((k + (falling - knots[k]) / (knots[k + 1] - knots[k])) / len(self.betas)).clamp(max=1)
