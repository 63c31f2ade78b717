"""The simplest rule for an SDE: x <- x + drift dt + diffusion sqrt(|dt|) z, forward or back (Maruyama 1955).

The noise grows with the square root of the time step, because variances add. For an SDE whose noise does not depend on
x the rule converges with order 1 (Kloeden and Platen 1992, 'Numerical Solution of SDEs', sections 10.2 and 14.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.sde import SDE
from driftback.randomness import Rng, as_rng
from driftback.samplers.brownian import EQUAL, increments
from driftback.samplers.frame import Frame


@dataclass(frozen=True)
class EulerMaruyama:
    """Any SDE on any times: increasing for the way forward, decreasing for a `Reverse` on its way back.

    One evaluation of the drift a step. BadInput where the diffusion coefficient is not finite: schedules with
    alpha(1) = 0 are singular there, so their way back starts a little earlier.
    """

    sde: SDE

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        ts = times.tolist()
        noises = path(x, ts, rng)
        yield Frame(ts[0], x)
        for k, (t, s) in enumerate(pairwise(ts)):
            diffusion = diffusion_at(self.sde, t)
            x = x + self.sde.drift(x, torch.tensor(t, dtype=torch.float64)) * (s - t)
            z = next(noises)
            x = x + diffusion * math.sqrt(abs(s - t)) * z if diffusion else x
            yield Frame(s, x, k + 1)


def diffusion_at(sde: SDE, t: float) -> float:
    """The diffusion coefficient at time `t`. BadInput where it is not finite."""
    diffusion = float(sde.diffusion(torch.tensor(t, dtype=torch.float64)))
    if not math.isfinite(diffusion):
        raise BadInput(f"the SDE is singular at t = {t}; start its grid a little earlier, for instance at 0.999")
    return diffusion


def path(x: Tensor, times: Sequence[float], rng: Rng | int | None) -> Iterator[Tensor]:
    """Standard normal noise in the shape of `x` (n, *event) for each step between `times`, from one Brownian path."""
    return increments(times, x.shape, EQUAL, rng=as_rng(rng).child("noise"), dtype=x.dtype, device=x.device)
