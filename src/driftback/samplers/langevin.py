"""Langevin's corrector: at a fixed time, walk uphill on log p_t with noise, so that the points settle into p_t.

x <- x + e score + sqrt(2 e) z with e = 2 (r |z| / |score|)^2 (Song et al. 2021, arXiv 2011.13456, algorithms 4 and 5,
whose factor alpha, 1 for VE and 1 - beta_i for VP, is 1 here). The norms are taken at their root mean squares for pure
noise, |z| = sqrt(d) and |score| = sqrt(d) / sigma, so e = 2 (r sigma)^2: a step that depended on the point would have
another stationary law, and one that depended on the batch would couple its items.
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
from driftback.samplers.frame import Frame, Sampler, last
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Langevin:
    """`steps` moves at each time with signal-to-noise ratio `snr` (r above; the paper has .16 for VE, .01 for VP).

    As a sampler of its own this is annealed Langevin dynamics (Song and Ermon 2019, arXiv 1907.05600): it moves at
    every time but the first, and not where sigma = 0. It keeps p_t up to an error of order snr^2.
    """

    denoiser: Denoiser
    steps: int = 1
    snr: float = 0.16

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.snr < 1:
            raise BadInput(f"Langevin got {self.steps} steps at snr {self.snr}; give at least 1 step and 0 < snr < 1")

    @torch.no_grad()
    def move(self, x: Tensor, t: float, *, rng: Rng | int | None = None) -> Frame:
        """`steps` moves of `x` (n, *event) at time `t`."""
        rng, sigma = as_rng(rng), float(self.denoiser.process.sigma(t))
        if sigma == 0:
            return Frame(t, x)
        step = 2 * (self.snr * sigma) ** 2
        for k in range(self.steps):
            noise = rng.child("noise", k).normal(x.shape, dtype=x.dtype, device=x.device)
            x = x + step * self.denoiser.score(x, t) + math.sqrt(2 * step) * noise
        return Frame(t, x, self.steps)

    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        rng, frame = as_rng(rng), Frame(float(times[0]), x)
        yield frame
        for k, t in enumerate(times.tolist()[1:]):
            moved = self.move(frame.x, t, rng=rng.child("time", k))
            frame = Frame(t, moved.x, frame.evaluations + moved.evaluations)
            yield frame


@dataclass(frozen=True)
class PredictorCorrector:
    """Each step is one of `predictor`'s, then `corrector`'s moves at the new time: the paper's order, not its code's.

    The last step, into a time with sigma = 0, is the predictor's alone; for Heun and Ancestral it is the Tweedie step
    that the paper ends with. The predictor sees one step at a time, so a Heun's churn counts per step here.
    """

    predictor: Sampler
    corrector: Langevin

    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        rng, frame = as_rng(rng), Frame(float(times[0]), x)
        yield frame
        for k, (t, s) in enumerate(pairwise(times.tolist())):
            step = torch.tensor([t, s], dtype=torch.float64)
            predicted = last(self.predictor(frame.x, step, rng=rng.child("predictor", k)))
            corrected = self.corrector.move(predicted.x, s, rng=rng.child("corrector", k))
            frame = Frame(s, corrected.x, frame.evaluations + predicted.evaluations + corrected.evaluations)
            yield frame
