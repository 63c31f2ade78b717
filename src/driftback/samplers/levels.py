"""What a sampler knows of a grid before it starts: alpha, sigma and their ratio at each time, and each step's noise.

All ways back that follow a denoiser share one clock for their noise, the signal-to-noise ratio 1 / r^2: for eta = 1 it
is the clock in which the reverse SDE itself is a Brownian motion with drift D (El Alaoui et al. 2022, arXiv
2203.05093).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.samplers.brownian import LOGARITHMIC, increments
from driftback.samplers.exponential import Level


def levels_of(process: Diffusion, times: Tensor) -> tuple[Level, ...]:
    """The levels at `times` (steps + 1,). BadInput where these do not fall from one to the next, in [0, 1]."""
    if times.ndim != 1 or not bool(((times >= 0) & (times <= 1)).all()) or not bool((times.diff() < 0).all()):
        raise BadInput("the times of a way back have to fall, each below the one before, from 1 at most to 0 at least")
    alphas, sigmas = process.alpha(times).tolist(), process.sigma(times).tolist()
    return tuple(Level(*level) for level in zip(times.tolist(), alphas, sigmas, strict=True))


def level_at(process: Diffusion, ratio: float) -> Level:
    """The level at which sigma / alpha is `ratio`, cut to t <= 1."""
    t = process.time_of(ratio).clamp(max=1.0)
    return Level(float(t), float(process.alpha(t)), float(process.sigma(t)))


def closed(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """`levels`, and one more without noise where the last one has some at t = 0: its step leads to D (Tweedie)."""
    end = levels[-1]
    return (*levels, Level(0.0, 1.0, 0.0)) if end.t == 0 and end.sigma > 0 else levels


class Bridge(NamedTuple):
    """x_s = `kept` x_t + `pull` D + `fresh` z: over the bridge between where we are and the guess D of x_0."""

    kept: float
    pull: float
    fresh: float


def bridge(now: Level, after: Level, eta: float = 1.0) -> Bridge:
    """That of a step from `now` to `after` with a share `eta` in [0, 1] of fresh noise (Song et al. 2021, arXiv
    2010.02502, equations 12 and 16; 1 is DDPM's, 0 DDIM's).
    """
    rho = (now.alpha * after.sigma / (after.alpha * now.sigma)) ** 2
    kept = after.sigma * math.sqrt(1 - eta**2 * (1 - rho)) / now.sigma
    return Bridge(kept, after.alpha - kept * now.alpha, eta * after.sigma * math.sqrt(1 - rho))


def step_noise(levels: Sequence[Level], x: Tensor, rng: Rng) -> Iterator[Tensor]:
    """Standard normal noise in the shape of `x` (n, *event) for each step between `levels`.

    It belongs to the ratios of the levels, not to the number of the step: one key follows one path on every grid. A
    step into sigma = 0, where the clock is infinite, has that of a step to half of the ratio.
    """
    clocks = [levels[0].ratio ** -2]
    clocks += [(after.ratio or before.ratio / 2) ** -2 for before, after in pairwise(levels)]
    return increments(clocks, x.shape, LOGARITHMIC, rng=rng.child("noise"), dtype=x.dtype, device=x.device)
