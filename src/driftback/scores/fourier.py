"""Fourier features: the network is shown sin and cos of the noisy picture too, so that it sees single grey levels.

Beside x there are sin(2^n pi x) and cos(2^n pi x) for n = 7, 8: between neighbours of 256 levels in [-1, 1] they turn
by half a period and a whole one (Kingma et al. 2021, arXiv 2107.00630, appendix C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.scores.parametrisation import Parametrisation


@dataclass(frozen=True)
class Fourier:
    """`inner`, whose network is also shown waves of x at the frequencies 2^n pi, n in `powers`."""

    inner: Parametrisation
    powers: tuple[int, ...] = (7, 8)

    def channels(self, event: int) -> tuple[int, int]:
        into, out = self.inner.channels(event)
        return into + 2 * len(self.powers) * event, out

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        waves = [2.0**n * math.pi * x for n in self.powers]
        more = [each for wave in waves for each in (wave.sin(), wave.cos())]
        return torch.cat([self.inner.shown(x, alpha, sigma), *more], 1)

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoised(output, x, alpha, sigma)

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.loss(output, x0, x, alpha, sigma)

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        return self.inner.natural(alpha, sigma)
