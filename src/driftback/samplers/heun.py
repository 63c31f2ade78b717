"""The probability-flow ODE on the clock r = sigma / alpha, by Euler's or Heun's rule, with some noise put back.

In y = x / alpha the ODE is dy/dr = E[eps | x] for every schedule; churn first raises r to r (1 + gamma) by fresh noise
(Karras et al. 2022, arXiv 2206.00364, algorithms 1 and 2). Where alpha = 0 the clock stands at infinity, and there the
same ODE is d(x / sigma) / d(1/r) = E[x_0 | x], which is regular: a first step from pure noise is exact too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import Level
from driftback.samplers.frame import Frame
from driftback.samplers.levels import level_at, levels_of, step_noise
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Heun:
    """Heun's rule, or Euler's with `correct=False`, which is DDIM (Song et al. 2021, arXiv 2010.02502, equation 13).

    `churn`, `churn_low`, `churn_high` and `churn_noise` are the paper's S_churn, S_tmin, S_tmax (in units of r) and
    S_noise; churn never raises r above its value at t = 1. A step into a time with sigma = 0 is Euler's and lands on
    the denoised points, as in the paper. Works on any decreasing times in [0, 1]; two evaluations a step, Euler one.
    """

    denoiser: Denoiser
    churn: float = 0.0
    churn_low: float = 0.0
    churn_high: float = math.inf
    churn_noise: float = 1.0
    correct: bool = True

    def __post_init__(self) -> None:
        if self.churn < 0 or self.churn_noise < 0:
            raise BadInput(
                f"churn {self.churn} and its noise {self.churn_noise} must not be negative; 0 turns churn off"
            )

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels, evaluations = levels_of(self.denoiser.process, times), 0
        noises = step_noise(levels, x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for now, after in pairwise(levels):
            raised, x = self._churned(x, now, len(levels) - 1, next(noises)) if self.churn else (now, x)
            x, spent = self._step(x, raised, after)
            evaluations += spent
            yield Frame(after.t, x, evaluations)

    def _churned(self, x: Tensor, now: Level, steps: int, noise: Tensor) -> tuple[Level, Tensor]:
        process = self.denoiser.process
        top = float(process.ratio(1.0))
        if not self.churn_low <= now.ratio <= self.churn_high or now.ratio >= top:
            return now, x
        raised = min(now.ratio * (1 + min(self.churn / steps, math.sqrt(2) - 1)), top)
        level = level_at(process, raised)
        deviation = level.alpha * math.sqrt(raised**2 - now.ratio**2) * self.churn_noise
        return level, torch.add(level.alpha / now.alpha * x, noise, alpha=deviation)

    def _step(self, x: Tensor, now: Level, after: Level) -> tuple[Tensor, int]:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (now.alpha, now.sigma), (after.alpha, after.sigma)
        denoised = self.denoiser.denoised(x, now.t)
        # Euler in r: y + (r_s - r_t) noise, with the noise written out, so that neither 1 / alpha nor 1 / r occurs.
        carry = sigma_s / sigma_t
        pull = alpha_s - alpha_t * carry
        euler = torch.add(x * carry, denoised, alpha=pull)
        if not self.correct or sigma_s == 0:
            return euler, 1
        denoised_s = self.denoiser.denoised(euler, after.t)
        if alpha_t == 0:
            return torch.add(torch.add(x * carry, denoised, alpha=alpha_s / 2), denoised_s, alpha=alpha_s / 2), 2
        # y + (r_s - r_t) times the mean of both noises, as factors on x and on both values of D.
        half = (sigma_s - alpha_s * sigma_t / alpha_t) / 2
        out = torch.add(x * (alpha_s / alpha_t + half / sigma_t), euler, alpha=half / sigma_s)
        out = torch.add(out, denoised, alpha=-half * alpha_t / sigma_t)
        return torch.add(out, denoised_s, alpha=-half * alpha_s / sigma_s), 2


def euler(denoiser: Denoiser) -> Heun:
    """Euler's rule on the same clock: DDIM with eta = 0, one evaluation a step."""
    return Heun(denoiser, correct=False)
