"""The denoiser that knows patches: what a convolution of limited reach could learn at best, without any training.

Each pixel's E[x_0 | x_t] is by the patch about it alone (`driftback.distributions.patches`): the local score of Kamb
and Ganguli 2024, arXiv 2412.20292. With patches as large as the pictures it is the recorded cloud's, which remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.patches import SizedPatches
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time, per_item


@dataclass(frozen=True, eq=False)
class PatchDenoiser(Denoiser):
    """E[x_0 | x_t] pixel by pixel, by `patches` whose sizes follow the noise."""

    process: Diffusion
    patches: SizedPatches

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """For `x` (n, c, h, w) at times `t` in (0, 1], () or (n,): the shape of `x`."""
        t, n = as_time(t, x), len(x)
        alpha, sigma = (part.reshape(-1).expand(n) for part in (self.process.alpha(t), self.process.sigma(t)))
        y = x / per_item(torch.where(alpha > 0, alpha, 1.0), x)
        return self.patches.mean(y, (alpha / sigma) ** 2)
