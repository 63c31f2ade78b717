"""The noise levels of a bound on likelihood: where its terms are large, each counted by one over its density.

The terms |x_0 - D|^2 / r^2 of the bound (see `driftback.scores.spikes`) are about even in l = log r, r = sigma / alpha,
while noise hides details alone, and fall with a power of r from where it hides the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.processes.diffusion import Diffusion


@dataclass(frozen=True)
class BoundTimes:
    """The terms of a bound: the ratio `low`, where levels are read off, with probability `share`, else l =
    log(ratio) up to that of `high`, with density proportional to 1 / (1 + ratio / `knee`).
    """

    low: float
    high: float
    share: float
    knee: float

    @property
    def _ends(self) -> tuple[float, float]:
        """-log(1 + knee / ratio) at both ends: the distribution function is linear in it."""
        return -math.log1p(self.knee / self.low), -math.log1p(self.knee / self.high)

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        low, high = self._ends
        inside = ((u - self.share) / (1 - self.share)).clamp(min=0.0)
        ratio = self.knee / torch.expm1(-(low + inside * (high - low)))
        return process.schedule.time_of(ratio.clamp(self.low, self.high)).clamp(1e-9, 1.0)

    def counts(self, ratio: Tensor) -> Tensor:
        """What a term at `ratio` counts, so that their mean is the integral over l and, at `low`, the term itself: one
        over its density, or its share.
        """
        low, high = self._ends
        integral = (1 + ratio / self.knee) * (high - low) / (1 - self.share)
        return torch.where(ratio <= self.low * (1 + 1e-6), 1 / self.share, integral)
