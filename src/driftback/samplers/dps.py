"""Diffusion posterior sampling: an ancestral step, and a step down the misfit |y - A D(x_t)|.

x_s <- x_s - zeta grad_{x_t} |y - A(D(x_t))| (Chung et al. 2023, arXiv 2209.14687, algorithm 1, whose zeta_i = zeta' /
|y - A D| times the gradient of the square is twice this; their code has it as here). Written for a variance-preserving
chain of 1,000 steps: other schedules are brought to unit variance for the step, and zeta goes with the number of steps.
Kept as what it is, for comparison: its samples are no posterior's (docs/posteriors.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.distributions.observation import Observation
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.levels import bridge, levels_of, step_noise
from driftback.scores.denoiser import Denoiser
from driftback.shapes import sum_event


@dataclass(frozen=True)
class DPS:
    """One evaluation and one backward pass a step; `scale` is zeta > 0 (theirs: .3 to 1), noise enters nowhere."""

    denoiser: Denoiser
    observation: Observation
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise BadInput(f"a step of {self.scale} is none; give a positive number, .3 to 1 as a rule")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels = levels_of(self.denoiser.process, times)
        noises = step_noise(levels, x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(True)
                mean = self.denoiser.denoised(leaf, now.t)
                squares = sum_event(self.observation.missed(self.observation.operator(mean)) ** 2)
                slope = torch.autograd.grad((squares + 1e-12).sqrt().sum(), leaf)[0]
            step = bridge(now, after)
            x = step.kept * x + step.pull * mean.detach()
            x = torch.add(x, next(noises), alpha=step.fresh)
            unit = math.hypot(now.alpha, now.sigma) * math.hypot(after.alpha, after.sigma)
            yield Frame(after.t, x := x - self.scale * unit * slope, k + 1)
