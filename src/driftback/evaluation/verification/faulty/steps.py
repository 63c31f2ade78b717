"""Faulty steps: right formulas at the wrong places of the grid.

Public code has carried each of them: Adams-Bashforth in log r (Hochbruck and Ostermann 2010, 'Exponential integrators',
section 2.5) with one index off by one, DDIM (Song et al. 2021, arXiv 2010.02502, equation 12) on a table of 1,000 steps
that its stride does not divide, and an order that is kept up into the last step, where log r falls without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.samplers.exponential import DATA, Level, log_ratio, weights
from driftback.samplers.frame import Frame, last
from driftback.samplers.heun import euler
from driftback.samplers.levels import levels_of
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class WrongIndex:
    """Order 3 with the values of the steps before weighed as if each had been found one step earlier."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        levels, past = levels_of(self.denoiser.process, times), list[Tensor]()
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            past = [*past, self.denoiser.denoised(x, now.t)][-3:]
            # The fault: k - 3 and k - 2 for k - 2 and k - 1.
            places = [levels[max(0, k - 3)].ratio, levels[max(0, k - 2)].ratio, now.ratio]
            regular = now.alpha > 0 and after.sigma > 0 and k >= 4
            factors = weights(DATA, log_ratio, 0.0, now, after, places if regular else places[-1:])
            x = x * DATA.carry(now, after, 0.0)
            for factor, value in zip(factors, past[-len(factors) :], strict=True):
                x = x + factor * value
            yield Frame(after.t, x, k + 1)


@dataclass(frozen=True)
class Strided:
    """DDIM on a table of 1,000 times: each step leads 1000 // steps entries on, the next begins where the grid says."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        steps = max(1, len(times) - 1)
        table = torch.linspace(float(times[-1]), float(times[0]), 1001, dtype=torch.float64)
        starts = torch.linspace(1000, 0, steps + 1).round().long()
        # The fault: where 1,000 has a remainder, the entry that a step leads to is not the one that the next begins at.
        ends = (starts[:-1] - 1000 // steps).clamp(min=0)
        yield Frame(float(times[0]), x)
        for k, (start, end, t) in enumerate(zip(starts.tolist(), ends.tolist(), times.tolist()[1:], strict=False)):
            x = last(euler(self.denoiser)(x, table[[start, end]])).x if start > end else x
            yield Frame(t, x, k + 1)


@dataclass(frozen=True)
class Unlowered:
    """Order 4 that is kept into the last step, no noise at all being taken for a ratio of 1e-8."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        levels, past = levels_of(self.denoiser.process, times), list[Tensor]()
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            past = [*past, self.denoiser.denoised(x, now.t)][-4:]
            places = [level.ratio for level in levels[max(0, k - 3) : k + 1] if level.alpha > 0]
            # The fault: the polynomial is followed far beyond its nodes.
            to = after if after.sigma > 0 else Level(after.t, after.alpha, 1e-8 * after.alpha)
            factors = weights(DATA, log_ratio, 0.0, now, to, places if places else [now.ratio])
            x = x * DATA.carry(now, to, 0.0)
            for factor, value in zip(factors, past[-len(factors) :], strict=True):
                x = x + factor * value
            yield Frame(after.t, x, k + 1)
