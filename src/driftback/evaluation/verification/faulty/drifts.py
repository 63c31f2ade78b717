"""Faulty drifts, scores, schedules and bridges: a factor, a sign, a turn, a clock.

The reverse drift is f - g^2 grad log p (Anderson 1982), so a sign or a factor of two in either part is another process;
a score is a gradient, so one that is turned a little is none; a clock's inverse undoes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.processes.sde import Reverse
from driftback.randomness import Rng, as_rng
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time, per_item


@dataclass(frozen=True)
class Scaled:
    """Anderson's reverse with its whole drift times `factor`: 2 and 1/2 are the classical slips."""

    right: Reverse
    factor: float

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """The drift, too large or too small."""
        return self.factor * self.right.drift(x, t)

    def diffusion(self, t: Tensor) -> Tensor:
        """The right diffusion coefficient."""
        return self.right.diffusion(t)


def scaled_drift(denoiser: Denoiser, factor: float) -> EulerMaruyama:
    """Euler-Maruyama with the reverse drift times `factor`."""
    return EulerMaruyama(Scaled(Reverse(denoiser.process, denoiser.score), factor))


def flipped_score(denoiser: Denoiser) -> EulerMaruyama:
    """Euler-Maruyama with f + g^2 grad log p for f - g^2 grad log p."""
    return EulerMaruyama(Reverse(denoiser.process, lambda x, t: -denoiser.score(x, t)))


@dataclass(frozen=True)
class Stretched(Denoiser):
    """The score of `right` times `factor`: D = (x + factor sigma^2 score) / alpha."""

    right: Denoiser
    factor: float = 1.05

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the right one."""
        return self.right.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        alpha = per_item(self.process.alpha(as_time(t, x)), x)
        return (x + self.factor * (alpha * self.right.denoised(x, t) - x)) / alpha


@dataclass(frozen=True)
class Turned(Denoiser):
    """The score of `right` turned by `angle` radians in the plane: as long as the right one, but no gradient."""

    right: Denoiser
    angle: float = 0.05

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the right one."""
        return self.right.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, (cos, sin) = per_item(self.process.alpha(as_time(t, x)), x), (math.cos(self.angle), math.sin(self.angle))
        pull = alpha * self.right.denoised(x, t) - x
        return (x + torch.stack([cos * pull[:, 0] - sin * pull[:, 1], sin * pull[:, 0] + cos * pull[:, 1]], 1)) / alpha


@dataclass(frozen=True)
class WrongClock(VP):
    """VP whose `time_of` takes the integral of beta for t^2 high / 2, as if beta began at 0."""

    def time_of(self, ratio: Tensor) -> Tensor:
        return torch.sqrt(2 * torch.log1p(ratio**2) / self.high)


@dataclass(frozen=True)
class Forgetful(Diffusion):
    """A diffusion whose bridge forgets x_t: each x_s has the right law, and the path has no memory."""

    def bridge(
        self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor, *, rng: Rng | int | None = None
    ) -> Tensor:
        """Draw x_s given x_0 alone."""
        return self.forward(x0, s, rng=as_rng(rng))


@dataclass(frozen=True)
class SharedNoise(Diffusion):
    """A diffusion that draws one number for all coordinates: each alone has the right law, both together have not."""

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given x_0, with one normal number an item."""
        t = as_time(t, x0)
        noise = as_rng(rng).normal((len(x0), 1), dtype=x0.dtype, device=x0.device)
        return per_item(self.alpha(t), x0) * x0 + per_item(self.sigma(t), x0) * noise


@dataclass(frozen=True)
class CoinNoise(Diffusion):
    """A diffusion whose noise is +1 or -1: the right mean and variance, and another law."""

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given x_0, with the signs of normal numbers."""
        t = as_time(t, x0)
        noise = as_rng(rng).normal(x0.shape, dtype=x0.dtype, device=x0.device).sign()
        return per_item(self.alpha(t), x0) * x0 + per_item(self.sigma(t), x0) * noise


@dataclass(frozen=True)
class HalfNoise(Diffusion):
    """A diffusion whose g^2 is (sigma^2)' alone, without the noise that the drift takes away."""

    def diffusion(self, t: float | Tensor) -> Tensor:
        """sqrt((sigma^2)') where g^2 is (sigma^2)' - 2 f sigma^2."""
        alpha_slope, sigma_slope = self.slopes(torch.as_tensor(t, dtype=torch.float64).clamp(min=1e-6))
        return torch.sqrt((2 * self.sigma(t) * sigma_slope).clamp(min=0) + 0 * alpha_slope)
