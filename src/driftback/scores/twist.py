"""A way back that is pulled towards something: a denoiser D, and a guess of how probable the something is from here.

For a factor h(x_0) that the data's density is multiplied by, E[x_0 | x_t] becomes D + (sigma^2 / alpha) grad log h_t
with h_t(x_t) = E[h(x_0) | x_t] (Tweedie). h_t is rarely known; a `Twist` puts a guess in its place. Followed as it is,
the guess is a bias; as a twisting function of sequential Monte Carlo it only moves particles to where they count
(Wu et al. 2023, arXiv 2306.17775; `driftback.samplers.twisted`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time, per_item


@dataclass(frozen=True)
class Guess:
    """Of points x_t: `denoised` D and the `shift` (n, *event) that h adds to it, and log h_t (n,) float64 as guessed,
    up to a number that depends on t alone.
    """

    denoised: Tensor
    shift: Tensor
    log_factor: Tensor


class Twist(Denoiser):
    """A denoiser whose data are multiplied by a factor. Subclasses owe `guess` and `log_factor`."""

    denoiser: Denoiser

    @property
    # A denoiser declares an attribute; here it is read off the one inside, and mypy takes a property for another kind.
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the denoiser that is twisted."""
        return self.denoiser.process

    @abstractmethod
    def guess(self, x: Tensor, t: float | Tensor) -> Guess:
        """D, its shift and the guessed log h_t at `x` (n, *event), `t` in (0, 1], () or (n,)."""

    @abstractmethod
    def log_factor(self, x0: Tensor) -> Tensor:
        """log h(x_0) itself, (n,) float64 in nats."""

    @final
    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] after the factor, as guessed: the shape of `x`."""
        found = self.guess(x, t)
        return found.denoised + found.shift


def tweedie(process: Diffusion, x: Tensor, t: float | Tensor) -> Tensor:
    """sigma^2 / alpha, what turns a gradient of log h_t into a shift of D, shaped to multiply `x`; 0 where alpha is 0,
    for there x_t knows nothing of x_0.
    """
    t = as_time(t, x)
    alpha, sigma = process.alpha(t), process.sigma(t)
    return per_item(torch.where(alpha > 0, sigma**2 / alpha.clamp(min=1e-300), 0.0), x)
