"""Twisted sequential Monte Carlo: particles follow a guess of the posterior, and weights make up for what is wrong in
it.

A particle moves from x_t by the ancestral step of the guessed posterior, and gets the weight w = p(x_s | x_t) h_s(x_s)
/ (q(x_s | x_t) h_t(x_t)), p being the step without the factor and h_0 the factor itself: whatever the guesses h_t are,
with enough particles the cloud is drawn from the chain's own law times the factor, and the product of the mean weights
is its normalising constant, the evidence p(y) of an observation (Wu et al. 2023, arXiv 2306.17775, algorithm 1; Del
Moral, Doucet and Jasra 2006). Particles are copied when their effective number falls below a half.
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
from driftback.samplers.levels import bridge, closed, levels_of
from driftback.samplers.markov.resampling import systematic
from driftback.samplers.markov.weights import effective
from driftback.scores.twist import Guess, Twist
from driftback.shapes import sum_event


class Collapsed(BadInput):
    """No particle has any weight."""


@dataclass(frozen=True)
class Twisted:
    """One cloud, n particles for one factor; one evaluation of the `twist` a step, `block` particles at once.

    `threshold` in (0, 1] is the share of particles below which the effective number makes them be copied. Frames have
    `log_weights` whose mean is the evidence so far, and `families`; draw from the last by `resampled`.
    """

    twist: Twist
    threshold: float = 0.8
    block: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise BadInput(f"the threshold {self.threshold} is no share of the particles; give 0 to 1, .8 as a rule")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself, and one more,
        denoised, where the process has noise at t = 0. `Collapsed` where no particle has any weight.
        """
        levels, rng, n = closed(levels_of(self.twist.process, times)), as_rng(rng), len(x)
        families, guess = torch.arange(n, device=x.device), self._guess(x, levels[0].t)
        weights, told = _checked(guess.log_factor, levels[0].t), guess.log_factor
        yield Frame(levels[0].t, x, 1, log_weights=weights, families=families)
        for k, (now, after) in enumerate(pairwise(levels)):
            if effective(weights) < self.threshold * n:
                copies = systematic(weights.softmax(0), n, rng=rng.child("copies", k))
                # A weight stands for what its particle is worth; after copying they all share the mean.
                weights = torch.full_like(weights, float(weights.logsumexp(0)) - math.log(n))
                x, families, told = x[copies], families[copies], told[copies]
                shift, denoised = guess.shift[copies], guess.denoised[copies]
            else:
                shift, denoised = guess.shift, guess.denoised
            kept, pull, fresh = bridge(now, after)
            x = kept * x + pull * denoised
            if fresh:
                noise = rng.child("noise", k).normal(x.shape, dtype=x.dtype, device=x.device)
                aside = pull * shift
                x = x + aside + fresh * noise
                # log p(x_s | x_t) - log q(x_s | x_t) for two Gaussians of deviation `fresh`, `aside` apart.
                gained = -sum_event((noise * aside).double()) / fresh - sum_event(aside.double() ** 2) / (2 * fresh**2)
                guess = self._guess(x, after.t)
                found = guess.log_factor
            else:
                # No noise is left: the last step is the chain's own, and the factor is known.
                found = self.twist.log_factor(x).double()
                gained = torch.zeros_like(found)
            weights = _checked(weights + gained + found - told, after.t)
            told = found
            yield Frame(after.t, x, k + 1 + bool(fresh), log_weights=weights, families=families)

    def _guess(self, x: Tensor, t: float) -> Guess:
        parts = [self.twist.guess(part, t) for part in x.split(self.block or len(x))]
        return Guess(
            torch.cat([part.denoised for part in parts]),
            torch.cat([part.shift for part in parts]),
            torch.cat([part.log_factor for part in parts]),
        )


def _checked(weights: Tensor, t: float) -> Tensor:
    """`weights` (n,), where a particle whose weight is no number has none: its numbers have overflowed."""
    weights = torch.where(weights < math.inf, weights.double(), -math.inf)
    if not bool((weights > -math.inf).any()):
        raise Collapsed(f"all {len(weights)} particles have weight 0 at t = {t:.3g}, so that none can be drawn")
    return weights


def resampled(frame: Frame, n: int, *, rng: Rng | int | None = None) -> Tensor:
    """`n` draws (n, *event) of equal weight from a frame with weights, some of them alike."""
    if frame.log_weights is None:
        return frame.x[:n]
    return frame.x[systematic(frame.log_weights.softmax(0), n, rng=rng)]
