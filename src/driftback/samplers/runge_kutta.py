"""Explicit Runge-Kutta rules for the probability-flow ODE on the clock r = sigma / alpha.

In y = x / alpha the ODE is dy/dr = eps; where alpha = 0 the same ODE is d(x / sigma) / d(1/r) = D, which is regular. A
rule is a table: stage i is evaluated at the share c_i of the step, at y + h sum_j a_ij k_j, and the step is h sum_i b_i
k_i (Kutta 1901; Hairer, Norsett and Wanner 1993, 'Solving Ordinary Differential Equations I', section II.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.samplers.exponential import DATA, Level
from driftback.samplers.frame import Frame
from driftback.samplers.levels import level_at, levels_of
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Table:
    """A rule's a (a row for each stage after the first), and b."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


CLASSICAL = Table(((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
"""The rule of order 4 that is called *the* Runge-Kutta rule."""


@dataclass(frozen=True)
class RungeKutta:
    """`table` on any decreasing times in [0, 1]: one evaluation for each stage of a step; into sigma = 0 Euler's rule.

    By itself it knows the r clock only, so grids with steps of equal factors (`log_snr`) suit it less than `karras`.
    """

    denoiser: Denoiser
    table: Table = CLASSICAL

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels, evaluations = levels_of(self.denoiser.process, times), 0
        yield Frame(levels[0].t, x)
        for now, after in pairwise(levels):
            x, spent = self._step(x, now, after)
            evaluations += spent
            yield Frame(after.t, x, evaluations)

    def _step(self, x: Tensor, now: Level, after: Level) -> tuple[Tensor, int]:
        denoised = self.denoiser.denoised(x, now.t)
        if after.sigma == 0:
            carry = DATA.carry(now, after, 0.0)
            return x * carry + (after.alpha - now.alpha * carry) * denoised, 1
        dual = now.alpha == 0
        slopes = [denoised if dual else (x - now.alpha * denoised) / now.sigma]
        start, end = (0.0, 1 / after.ratio) if dual else (now.ratio, after.ratio)
        for row in self.table.a:
            stage = _level(self.denoiser.process, start + sum(row) * (end - start), dual, after)
            point = self._moved(x, now, stage, row, slopes, end - start, dual)
            said = self.denoiser.denoised(point, stage.t)
            slopes.append(said if dual else (point - stage.alpha * said) / stage.sigma)
        return self._moved(x, now, after, self.table.b, slopes, end - start, dual), len(slopes)

    @staticmethod
    def _moved(
        x: Tensor, now: Level, to: Level, row: tuple[float, ...], slopes: list[Tensor], step: float, dual: bool
    ) -> Tensor:
        # y alpha = x where the clock is r, and (x / sigma) sigma = x where it is 1/r.
        scale_now, scale_to = (now.sigma, to.sigma) if dual else (now.alpha, to.alpha)
        out = x * (scale_to / scale_now)
        for factor, slope in zip(row, slopes, strict=False):
            if factor:
                out = torch.add(out, slope, alpha=factor * step * scale_to)
        return out


def _level(process: Diffusion, clock: float, dual: bool, after: Level) -> Level:
    ratio = 1 / clock if dual else clock
    if abs(ratio / after.ratio - 1) < 1e-12:
        return after
    return level_at(process, ratio)
