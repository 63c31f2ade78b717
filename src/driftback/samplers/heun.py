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
from driftback.samplers.frame import Frame
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
        rng, evaluations, ts = as_rng(rng), 0, times.tolist()
        yield Frame(ts[0], x)
        for k, (t, s) in enumerate(pairwise(ts)):
            if self.churn:
                t, x = self._churned(x, t, len(ts) - 1, rng.child("noise", k))
            x, spent = self._step(x, t, s)
            evaluations += spent
            yield Frame(s, x, evaluations)

    def _churned(self, x: Tensor, t: float, steps: int, rng: Rng) -> tuple[float, Tensor]:
        process = self.denoiser.process
        ratio, top = float(process.ratio(t)), float(process.ratio(1.0))
        if not self.churn_low <= ratio <= self.churn_high or ratio >= top:
            return t, x
        raised = min(ratio * (1 + min(self.churn / steps, math.sqrt(2) - 1)), top)
        later = min(float(process.time_of(raised)), 1.0)
        alpha, alpha_later = float(process.alpha(t)), float(process.alpha(later))
        deviation = alpha_later * math.sqrt(raised**2 - ratio**2) * self.churn_noise
        return later, alpha_later / alpha * x + deviation * rng.normal(x.shape, dtype=x.dtype, device=x.device)

    def _step(self, x: Tensor, t: float, s: float) -> tuple[Tensor, int]:
        process = self.denoiser.process
        alpha_t, alpha_s = float(process.alpha(t)), float(process.alpha(s))
        sigma_t, sigma_s = float(process.sigma(t)), float(process.sigma(s))
        denoised = self.denoiser.denoised(x, t)
        # Euler in r: y + (r_s - r_t) noise, with the noise written out, so that neither 1 / alpha nor 1 / r occurs.
        euler = sigma_s / sigma_t * x + (alpha_s - alpha_t * sigma_s / sigma_t) * denoised
        if not self.correct or sigma_s == 0:
            return euler, 1
        denoised_s = self.denoiser.denoised(euler, s)
        if alpha_t == 0:
            return sigma_s / sigma_t * x + alpha_s * (denoised + denoised_s) / 2, 2
        slope = (x - alpha_t * denoised) / sigma_t + (euler - alpha_s * denoised_s) / sigma_s
        return alpha_s / alpha_t * x + (sigma_s - alpha_s * sigma_t / alpha_t) / 2 * slope, 2


def euler(denoiser: Denoiser) -> Heun:
    """Euler's rule on the same clock: DDIM with eta = 0, one evaluation a step."""
    return Heun(denoiser, correct=False)
