"""Which noise levels to train on: laws of t, drawn from stratified uniform numbers.

u_i = (i + U_i) / n spreads a batch evenly over the law, which lowers the variance of the loss without changing its mean
(Kingma et al. 2021, arXiv 2107.00630, appendix I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.processes.diffusion import Diffusion


class TimeLaw(Protocol):
    """A law of training times, by its quantile function."""

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        """Times in (0, 1] for uniform `u` (n,) float64 in [0, 1)."""
        ...


@dataclass(frozen=True)
class UniformTimes:
    """t uniform on [`low`, 1]; `low` keeps away from t = 0 (1e-5 in Song et al. 2021, arXiv 2011.13456, appendix C)."""

    low: float = 1e-5

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        return self.low + (1 - self.low) * u


@dataclass(frozen=True)
class LogNormalRatio:
    """log(sigma / alpha) ~ N(`mean`, `deviation`^2), as in EDM (Karras et al. 2022, arXiv 2206.00364, table 1)."""

    mean: float = -1.2
    deviation: float = 1.2

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        z = math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-9, 1 - 1e-9))
        return process.schedule.time_of(torch.exp(self.mean + self.deviation * z)).clamp(1e-9, 1.0)


@dataclass(frozen=True)
class UniformLogRatio:
    """log(sigma / alpha) uniform between those of `low` and `high`, where 0 < low < high."""

    low: float
    high: float

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        ratio = self.low * torch.exp(u * math.log(self.high / self.low))
        return process.schedule.time_of(ratio).clamp(1e-9, 1.0)


@dataclass(frozen=True)
class ChainTimes:
    """t = k / `steps` with k uniform on 1 .. `steps`: the steps of a chain (Ho et al. 2020, arXiv 2006.11239)."""

    steps: int

    def quantile(self, u: Tensor, process: Diffusion) -> Tensor:
        return (torch.floor(u * self.steps) + 1).clamp(max=self.steps) / self.steps


def stratified(n: int, generator: torch.Generator) -> Tensor:
    """(n,) float64 in [0, 1), one in each n-th of the interval."""
    u = torch.rand(n, dtype=torch.float64, generator=generator, device=generator.device)
    return (torch.arange(n, dtype=torch.float64, device=u.device) + u) / n
