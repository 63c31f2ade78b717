"""Ancestral sampling: guess x_0, then go back to the earlier time over the bridge between the guess and where we are.

With D = E[x_0 | x_t], eps the noise that it leaves, and rho = (r_s / r_t)^2 for r = sigma / alpha: x_s = alpha_s D +
sqrt(sigma_s^2 - v) eps + sqrt(v) z with v = eta^2 sigma_s^2 (1 - rho) (Song et al. 2021, arXiv 2010.02502, equations 12
and 16). eta = 1 is DDPM (Ho et al. 2020, arXiv 2006.11239, equations 6 and 7), eta = 0 is DDIM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.levels import bridge, levels_of, step_noise
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Ancestral:
    """One evaluation a step; `eta` in [0, 1] is the share of fresh noise. Works on any decreasing times in [0, 1]."""

    denoiser: Denoiser
    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise BadInput(f"eta is {self.eta}; give 0 (DDIM) to 1 (DDPM)")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels = levels_of(self.denoiser.process, times)
        noises = step_noise(levels, x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            step = bridge(now, after, self.eta)
            x = step.kept * x + step.pull * self.denoiser.denoised(x, now.t)
            if step.fresh:
                x = torch.add(x, next(noises), alpha=step.fresh)
            yield Frame(after.t, x, k + 1)
