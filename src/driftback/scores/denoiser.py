"""A denoiser: E[x_0 | x_t], the one thing that every way back needs; score, noise and velocity follow from it.

With x_t = alpha x_0 + sigma eps and D = E[x_0 | x_t]: noise E[eps | x_t] = (x_t - alpha D) / sigma, score
grad log p_t = -noise / sigma (Tweedie; Efron 2011; Vincent 2011), and velocity, the drift of the probability-flow ODE,
dx/dt = alpha' D + sigma' noise (Lipman et al. 2023, arXiv 2210.02747).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self, final

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.shapes import as_time, per_item


class Denoiser(ABC):
    """What is left of x_t when the noise is taken away on average. Subclasses owe `process` and `denoised`."""

    process: Diffusion

    @abstractmethod
    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, *event) at times `t` in (0, 1], () or (n,): the shape of `x`."""

    def given(self, label: int | Tensor) -> Self | Denoiser:
        """The denoiser conditioned on a class, one number or one per item (n,). Here: not conditional."""
        raise BadInput(f"{type(self).__name__} knows no labels; fit a model on labelled data to condition on one")

    def of(self, rows: Tensor) -> Denoiser:
        """The denoiser of the items `rows` (m,) alone, of those that it was `given` one label each for. Here: itself,
        for all items are alike.
        """
        return self

    def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """`denoised`, and how wide the step back from there is, as `scores.learned_variance` has it. Here: not
        known.
        """
        raise BadInput(
            "this model has learned no variances of its steps; use --sampler ddpm, or fit one with --method iddpm"
        )

    @final
    def noise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[eps | x_t = x], the shape of `x`; `t` in (0, 1]."""
        t = as_time(t, x)
        return (x - per_item(self.process.alpha(t), x) * self.denoised(x, t)) / per_item(self.process.sigma(t), x)

    @final
    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """grad log p_t at `x`, the shape of `x`; `t` in (0, 1]."""
        t = as_time(t, x)
        return -self.noise(x, t) / per_item(self.process.sigma(t), x)

    @final
    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The probability-flow ODE's dx/dt at `x`, the shape of `x`; `t` in (0, 1]."""
        t = as_time(t, x)
        denoised = self.denoised(x, t)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        noise = (x - per_item(alpha, x) * denoised) / per_item(sigma, x)
        slopes = self.process.slopes(t)
        return per_item(slopes[0], x) * denoised + per_item(slopes[1], x) * noise


def expand_time(t: float | Tensor, x: Tensor) -> Tensor:
    """`t` as float64 of shape (n,), for networks that embed one time per item."""
    return torch.broadcast_to(as_time(t, x), (len(x),))
