"""Faulty noise: the right drift with too much or too little noise, or with noise that couples the items.

Noise grows with the square root of the time step (Maruyama 1955); DDIM's old noise makes room for the
fresh (Song et al. 2021, arXiv 2010.02502, equation 12); churn adds the difference of two variances (Karras et al. 2022,
arXiv 2206.00364, algorithm 2, line 6); a corrector's step that depends on the batch's norms couples its items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.processes.sde import Reverse
from driftback.randomness import Rng, as_rng
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.euler_maruyama import diffusion_at
from driftback.samplers.frame import Frame, last
from driftback.samplers.heun import euler
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Rootless:
    """Euler-Maruyama whose noise is scaled with the time step instead of its square root."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        sde, rng = Reverse(self.denoiser.process, self.denoiser.score), as_rng(rng)
        yield Frame(float(times[0]), x)
        for k, (t, s) in enumerate(pairwise(times.tolist())):
            noise = rng.child("noise", k).normal(x.shape, dtype=x.dtype, device=x.device)
            drift = sde.drift(x, torch.tensor(t, dtype=torch.float64))
            x = x + (s - t) * drift + diffusion_at(sde, t) * abs(s - t) * noise
            yield Frame(s, x, k + 1)


@dataclass(frozen=True)
class Roomless:
    """DDIM with fresh noise on top of the old, sigma_s eps, which should have made room for it."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        levels = levels_of(self.denoiser.process, times)
        noises = step_noise(levels, x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            rho = (now.alpha * after.sigma / (after.alpha * now.sigma)) ** 2
            # The fault: sqrt(sigma_s^2 - v) eps, with v the variance of the fresh noise, for sigma_s eps.
            kept = after.sigma / now.sigma
            x = kept * x + (after.alpha - kept * now.alpha) * self.denoiser.denoised(x, now.t)
            if after.sigma:
                x = x + after.sigma * math.sqrt(1 - rho) * next(noises)
            yield Frame(after.t, x, k + 1)


@dataclass(frozen=True)
class Churned:
    """Euler's rule with churn: r is raised by a tenth with noise of all of the raised r, not of the difference."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        process, rng = self.denoiser.process, as_rng(rng)
        yield Frame(float(times[0]), x)
        for k, (t, s) in enumerate(pairwise(times.tolist())):
            ratio = float(process.ratio(t))
            raised = min(1.1 * ratio, float(process.ratio(1.0)))
            if raised > ratio:
                noise = rng.child("churn", k).normal(x.shape, dtype=x.dtype, device=x.device)
                t, before = float(process.time_of(raised)), float(process.alpha(t))
                alpha = float(process.alpha(t))
                x = alpha / before * x + alpha * raised * noise
            x = last(euler(self.denoiser)(x, torch.tensor([t, s], dtype=torch.float64))).x
            yield Frame(s, x, k + 1)


@dataclass(frozen=True)
class Coupled:
    """An ancestral predictor with a corrector whose step is measured by the norms of the whole batch."""

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        rng = as_rng(rng)
        yield Frame(float(times[0]), x)
        for k, (t, s) in enumerate(pairwise(times.tolist())):
            step = torch.tensor([t, s], dtype=torch.float64)
            x = last(Ancestral(self.denoiser)(x, step, rng=rng.child("predictor", k))).x
            if float(self.denoiser.process.sigma(s)) > 0:
                noise = rng.child("corrector", k).normal(x.shape, dtype=x.dtype, device=x.device)
                score = self.denoiser.score(x, s)
                size = 2 * (0.16 * noise.norm(dim=1).mean() / score.norm(dim=1).mean()) ** 2
                x = x + size * score + (2 * size).sqrt() * noise
            yield Frame(s, x, 2 * (k + 1))
