"""The order of a solver, observed: the slope of log error against log step on a way whose end is known.

A method of order p errs by C h^p, so log error = log C - p log(steps): p is a least-squares slope, with the standard
error that its residuals give. The same runs tell how many evaluations an error costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import linregress
from torch import Tensor

from driftback.evaluation.verification.targets import TARGET, ends
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.frame import Sampler, last
from driftback.samplers.grids import karras
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

LOW = 0.05
"""The ratio at which the way ends: before the last step, which many methods take by a rule of its own."""
ITEMS, STEPS, FITTED = 40, (4, 8, 15, 30, 60, 120, 240, 480), 3
FLOOR = 3e-9
"""Errors below it are the reference's own, or rounding."""
TOLERANCES = (1e-2, 1e-3, 1e-4)


def standard() -> ExactDenoiser:
    """The target's exact denoiser under the variance-preserving schedule, on which samplers are verified."""
    return ExactDenoiser(Diffusion(VP(), TARGET.event_shape), TARGET)


@cache
def way() -> tuple[Tensor, Tensor]:
    """Points (40, 2) of the exact law at t = 1, and where the probability-flow ODE takes them."""
    process = standard().process
    law = process.marginal(TARGET, 1.0)
    x = law.sample(ITEMS, rng=0)
    return x, ends(process, x, float(process.ratio(1.0)), LOW)


def grid(steps: int) -> Tensor:
    """`steps` + 1 times of EDM's spacing from t = 1 to the ratio `LOW`."""
    return karras(standard().process, steps, low=LOW, high=1e9, end=LOW)


@dataclass(frozen=True)
class Convergence:
    """Root mean square errors and evaluations at each of `steps`."""

    steps: tuple[int, ...]
    errors: tuple[float, ...]
    evaluations: tuple[int, ...]

    def order(self) -> tuple[float, float, int]:
        """The slope through the finest grids, its standard error, and on how many grids it rests."""
        rows = [(n, e) for n, e in zip(self.steps, self.errors, strict=True) if math.isfinite(e) and e > FLOOR]
        if len(rows) < 2:
            return (math.inf if self.errors[-1] <= FLOOR else math.nan), 0.0, len(rows)
        fit = linregress(*(np.log([row[i] for row in rows[-FITTED:]]) for i in (0, 1)))
        return -float(fit.slope), float(fit.stderr), len(rows[-FITTED:])

    def evaluations_to(self, tolerance: float) -> float | None:
        """The evaluations at which the error falls to `tolerance`, between two grids by a power law; None if never."""
        for k, error in enumerate(self.errors):
            if error <= tolerance:
                if k == 0 or not math.isfinite(self.errors[k - 1]) or error == 0:
                    return float(self.evaluations[k])
                (e0, e1), (n0, n1) = self.errors[k - 1 : k + 1], self.evaluations[k - 1 : k + 1]
                return float(n0 * (n1 / n0) ** (math.log(e0 / tolerance) / math.log(e0 / e1)))
        return None


@dataclass
class _Counted(Denoiser):
    """A denoiser that counts how often it is asked."""

    true: Denoiser
    count: int = 0

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        return self.true.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        self.count += 1
        return self.true.denoised(x, t)


def convergence(make: Callable[[Denoiser], Sampler], steps: Sequence[int] = STEPS) -> Convergence:
    """How the sampler that `make` makes nears the end of the way as its steps are doubled."""
    x, truth = way()
    errors, evaluations = [], []
    for n in steps:
        counted = _Counted(standard())
        end = last(make(counted)(x, grid(n), rng=0)).x
        errors.append(float((end - truth).square().mean().sqrt()))
        evaluations.append(counted.count)
    return Convergence(tuple(steps), tuple(errors), tuple(evaluations))
