"""A multistep method whose grid and weights are fitted to the model in hand: more from the same evaluations.

The weights of a multistep method are right for polynomials. The D of a model is not any function, though: a few of its
ways, followed closely once (`driftback.samplers.reference`), tell which combination of the last evaluations leads best
to where the way really goes. Step by step, x_s = carry x_t + sum_j (w_j + delta_j) D_j is fitted to the true x_s by
least squares over these ways, the delta_j being a few numbers shared by all items and coordinates, each step beginning
where the fitted steps before it have led. The size of the corrections is kept in check by a ridge on the backward
differences, so that D which is a polynomial is treated as before. Compare Shaul et al. 2024, arXiv 2403.01329 (bespoke
non-stationary solvers) and Zhou et al. 2024, arXiv 2312.00094, which train such coefficients by gradient descent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.frame import Frame, last
from driftback.samplers.levels import levels_of
from driftback.samplers.multistep import Multistep, Step, follow
from driftback.samplers.reference import Reference
from driftback.scores.denoiser import Denoiser

RIDGE = 1e-6
"""The ridge on each difference, as a share of its own size."""
GRIDS = ((2, 0.02), (2, 0.1), (4, 0.02), (4, 0.15))
"""(order, floor) of the grids that are tried, as `Reference.grid` takes them."""


@dataclass(frozen=True)
class Fitted:
    """A plan for the ways of `denoiser` at its own `times`, float64 (steps + 1,); one evaluation a step.

    `error` is the root mean square error of a coordinate at the end, measured on ways that nothing was fitted to.
    """

    denoiser: Denoiser
    times: Tensor
    plan: tuple[Step, ...]
    error: float

    def __call__(self, x: Tensor, times: Tensor | None = None, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of its `times`, the first being `x` (n, *event); BadInput for other times."""
        if times is not None and not torch.equal(times, self.times):
            raise BadInput("a fitted sampler walks along its own times alone; leave times out, or give sampler.times")
        return follow(self.denoiser, levels_of(self.denoiser.process, self.times), self.plan, x, rng=rng)


def fitted(denoiser: Denoiser, ways: Reference, steps: int, *, order: int = 5) -> Fitted:
    """The best of the fitted samplers of `steps` steps, by the error on the second half of `ways`.

    Both the weights and the grid are fitted to the first half. BadInput unless there are 1 step and 16 ways or more.
    """
    n = ways.ways.shape[1]
    if steps < 1 or n < 16:
        raise BadInput(f"{steps} steps cannot be fitted to {n} ways; ask for 1 step or more, and give 16 ways")
    candidates = []
    for smooth, floor in GRIDS if steps > 2 else GRIDS[:1]:
        times = ways.grid(steps, order=smooth, floor=floor)
        base = Multistep(denoiser, order=order)
        plan = fitted_plan(base, times, ways, slice(0, n // 2))
        for one in (plan, base.plan(levels_of(denoiser.process, times))):
            trial = Fitted(denoiser, times, one, math.inf)
            end = last(trial(ways.ways[0, n // 2 :]))
            error = float((end.x - ways.ends[n // 2 :]).double().square().mean().sqrt())
            candidates.append(replace(trial, error=error if math.isfinite(error) else math.inf))
    return min(candidates, key=lambda one: one.error)


@torch.no_grad()
def fitted_plan(method: Multistep, times: Tensor, ways: Reference, some: slice) -> tuple[Step, ...]:
    """The plan of `method` at `times` with its weights fitted to the ways numbered `some`."""
    levels = levels_of(method.denoiser.process, times)
    x, past, plan = ways.ways[0, some], [], []
    for k, step in enumerate(method.plan(levels)):
        past.append(method.denoiser.denoised(x, levels[k].t))
        past = past[-len(step.weights) :]
        target = ways.ends[some] if k + 2 == len(levels) else ways.at(levels[k + 1])[some]
        out = x * step.carry
        for factor, value in zip(step.weights, past, strict=True):
            out = torch.add(out, value, alpha=factor)
        change = _change(past, target - out)
        for factor, value in zip(change, past, strict=True):
            out = torch.add(out, value, alpha=factor)
        plan.append(replace(step, weights=tuple(w + d for w, d in zip(step.weights, change, strict=True))))
        x = out
    return tuple(plan)


def _change(past: Sequence[Tensor], residual: Tensor) -> list[float]:
    """The factors on `past` (oldest first) whose sum comes nearest to `residual`, with a ridge on the differences."""
    count = len(past)
    # Row m: the m-th backward difference, as factors on the values.
    rows = np.zeros((count, count))
    for m in range(count):
        rows[m, count - 1 - m :] = [(-1) ** (m - i) * math.comb(m, i) for i in range(m + 1)]
    values = torch.stack([value.double().flatten() for value in past])
    gram, right = (values @ values.T).cpu().numpy(), (values @ residual.double().flatten()).cpu().numpy()
    gram, right = rows @ gram @ rows.T, rows @ right
    size = np.diag(gram)
    scale = np.sqrt(np.where(size > 0, size, 1.0))
    shrunk = gram / np.outer(scale, scale) + RIDGE * np.eye(count)
    return list((rows.T @ (np.linalg.solve(shrunk, right / scale) / scale)).tolist())
