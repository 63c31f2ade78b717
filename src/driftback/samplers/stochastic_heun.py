"""Heun's rule for an SDE with additive noise: the drift averaged over the step, on one Brownian increment.

x' = x + f(x, t) h + g(t) dW, then x + (f(x, t) + f(x', s)) h / 2 + (g(t) + g(s)) / 2 dW (Kloeden and Platen 1992,
'Numerical Solution of SDEs', section 15.1). Where g does not depend on x it has weak order 2, and order 2 as an ODE
rule when g = 0, for twice the evaluations of Euler-Maruyama.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.processes.sde import SDE
from driftback.randomness import Rng
from driftback.samplers.euler_maruyama import diffusion_at, path
from driftback.samplers.frame import Frame


@dataclass(frozen=True)
class StochasticHeun:
    """Any SDE on any times, forward or back, as `EulerMaruyama`, with two evaluations of the drift a step.

    BadInput where the diffusion coefficient is not finite, at either end of a step.
    """

    sde: SDE

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        ts = times.tolist()
        noises = path(x, ts, rng)
        yield Frame(ts[0], x)
        for k, (t, s) in enumerate(pairwise(ts)):
            here, there = diffusion_at(self.sde, t), diffusion_at(self.sde, s)
            slope = self.sde.drift(x, torch.tensor(t, dtype=torch.float64))
            kick = next(noises) * math.sqrt(abs(s - t))
            ahead = x + slope * (s - t) + here * kick
            second = self.sde.drift(ahead, torch.tensor(s, dtype=torch.float64))
            if k == len(ts) - 2:
                # A score is infinite where no noise is left; into such a time the step is Euler's.
                second = torch.where(torch.isfinite(second), second, slope)
            x = x + (slope + second) * ((s - t) / 2) + (here + there) / 2 * kick
            yield Frame(s, x, 2 * (k + 1))
