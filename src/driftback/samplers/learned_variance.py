"""Ancestral sampling with steps as wide as the network says: improved DDPM, on its own steps or on any fewer.

x_s = mu + sqrt(Sigma) z with the mean of DDPM, mu = (a sigma_s^2 x_t + alpha_s v D) / sigma_t^2, and Sigma between v~
and v in each coordinate (Nichol and Dhariwal 2021, arXiv 2102.09672, equation 15 and section 4, where the betas of a
chain of fewer steps follow from its alphas; see `driftback.scores.learned_variance`). The last step, into sigma = 0,
adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.denoiser import Denoiser
from driftback.scores.learned_variance import between, step_variances


@dataclass(frozen=True)
class LearnedAncestral:
    """One evaluation a step. Works on any decreasing times in [0, 1].

    BadInput where the denoiser has learned no variances.
    """

    denoiser: Denoiser

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels = levels_of(self.denoiser.process, times)
        noises = step_noise(levels, x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            denoised, share = self.denoiser.denoised_and_share(x, now.t)
            four = (now.alpha, now.sigma, after.alpha, after.sigma)
            v, known = step_variances(*(torch.tensor(each, dtype=torch.float64, device=x.device) for each in four))
            kept = now.alpha / after.alpha * (after.sigma / now.sigma) ** 2
            x = kept * x + float(after.alpha * v / now.sigma**2) * denoised
            if after.sigma > 0:
                x = x + torch.exp(between(share, v, known) / 2) * next(noises)
            yield Frame(after.t, x, k + 1)
