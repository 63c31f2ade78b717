"""What a sampler knows of a grid before it starts: alpha, sigma and their ratio at each time, and each step's noise.

All ways back that follow a denoiser share one clock for their noise, the signal-to-noise ratio 1 / r^2: for eta = 1 it
is the clock in which the reverse SDE itself is a Brownian motion with drift D (El Alaoui et al. 2022, arXiv
2203.05093).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.samplers.brownian import LOGARITHMIC, increments
from driftback.samplers.exponential import Level


def levels_of(process: Diffusion, times: Tensor) -> tuple[Level, ...]:
    """The levels at `times` (steps + 1,)."""
    alphas, sigmas = process.alpha(times).tolist(), process.sigma(times).tolist()
    return tuple(Level(*level) for level in zip(times.tolist(), alphas, sigmas, strict=True))


def step_noise(levels: Sequence[Level], x: Tensor, rng: Rng) -> Iterator[Tensor]:
    """Standard normal noise in the shape of `x` (n, *event) for each step between `levels`.

    It belongs to the ratios of the levels, not to the number of the step: one key follows one path on every grid. A
    step into sigma = 0, where the clock is infinite, has that of a step to half of the ratio.
    """
    clocks = [levels[0].ratio ** -2]
    clocks += [(after.ratio or before.ratio / 2) ** -2 for before, after in pairwise(levels)]
    return increments(clocks, x.shape, LOGARITHMIC, rng=rng.child("noise"), dtype=x.dtype, device=x.device)
