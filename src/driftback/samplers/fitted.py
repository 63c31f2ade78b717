"""A multistep method whose grid and weights are fitted to the model in hand: more from the same evaluations.

The weights of a multistep method are right for polynomials. The D of a model is not any function, though: a few of its
ways, followed closely once (`driftback.samplers.reference`), tell which combination of the last evaluations leads best
to where the way really goes. Step by step, x_s = (carry + b) x_t + sum_j (w_j + delta_j) D_j is fitted to the true x_s
by least squares over these ways, each weighed by what its errors grow to, and so is the mending of the step when D at
its end is known. b and the delta_j are a few numbers shared by all items and coordinates, and each step begins where
the fitted steps before it have led. A ridge on b and on the backward differences keeps the corrections in check, so
that a D which is a polynomial is treated as before. Compare Shaul et al. 2024, arXiv 2403.01329 (bespoke non-stationary
solvers) and Zhou et al. 2024, arXiv 2312.00094, which train such coefficients by gradient descent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.frame import Frame
from driftback.samplers.levels import levels_of
from driftback.samplers.multistep import Mend, Multistep, Step, combined, follow
from driftback.samplers.reference import Reference
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item

RIDGE = 1e-6
"""The ridge on each difference, as a share of its own size."""
Grid = Callable[[Reference, int, int], Tensor]
"""grid(ways, steps, seen): times (steps + 1,), by what the first `seen` ways say."""


def measured(order: int, floor: float) -> Grid:
    """Steps that share the local error of a method of this order, see `Reference.grid`."""
    return lambda ways, steps, seen: ways.grid(steps, order=order, floor=floor, seen=seen)


def even(low: float, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Grid:
    """Equal steps of there(r), for ratios r in units of two spreads, down to `low` spreads; then the end."""

    def grid(ways: Reference, steps: int, seen: int) -> Tensor:
        unit = 2 * ways.process.spread
        last = max(low * ways.process.spread, ways.levels[-1].ratio)
        ends = there(torch.tensor([ways.levels[0].ratio, last], dtype=torch.float64) / unit)
        times = ways.process.time_of(unit * back(torch.linspace(float(ends[0]), float(ends[1]), steps).double()))
        times[0] = ways.levels[0].t
        return torch.cat([times, times.new_zeros(1)])

    return grid


def _straight(low: float) -> Grid:
    return even(low, lambda r: r / (1 + r), lambda u: u / (1 - u))


GRIDS = (
    *(measured(order, floor) for order, floor in ((1, 0.02), (2, 0.02), (2, 0.1), (3, 0.05), (4, 0.02))),
    *(_straight(low) for low in (0.04, 0.1, 0.2)),
    even(0.2, torch.atan, torch.tan),
)
"""The grids that are tried; those of equal steps, of the straight and of the cosine schedule, for a few evaluations."""
ORDERS = (5, 4, 6, 3)
"""The orders that are tried, the first one on every grid: one more than this many values are at hand for mending."""


@dataclass(frozen=True)
class Fitted:
    """A plan for the ways of `denoiser` at its own `times`, float64 (steps + 1,); one evaluation a step.

    `error` bounds the root mean square error of a coordinate at the end: two standard errors above what a plan of half
    the ways leaves on the others, which neither its weights nor its grid, nor the choice among such, have seen.
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


def fitted(
    denoiser: Denoiser,
    ways: Reference,
    steps: int,
    *,
    orders: Sequence[int] = ORDERS,
    grids: Sequence[Grid] = GRIDS,
) -> Fitted:
    """The fitted sampler of `steps` steps whose order and grid are best for `ways`.

    Each candidate is fitted to the first quarter of the ways and judged by its error on the second: every grid with the
    first order, then the other orders on the best grid. The best one is fitted to both quarters, and the other half
    tells its error; then it is fitted to all ways (never worse where it was measured). Costs `steps` evaluations per
    way and candidate, and twice for the best. BadInput unless there are 1 step and 24 ways or more.
    """
    n = ways.ways.shape[1]
    if steps < 1 or n < 24:
        raise BadInput(f"{steps} steps cannot be fitted to {n} ways; ask for 1 step or more, and give 24 ways")
    quarter = n // 4

    def judged(order: int, times: Tensor) -> float:
        _, ends = fitted_plan(Multistep(denoiser, order, correct=True), times, ways, quarter)
        error = float((ends - ways.ends)[quarter : 2 * quarter].double().square().mean().sqrt())
        return error if math.isfinite(error) else math.inf

    tried = [grid(ways, steps, 2 * quarter) for grid in (grids if steps > 2 else grids[:1])]
    errors = [judged(orders[0], times) for times in tried]
    times = tried[errors.index(min(errors))]
    by_order = {order: judged(order, times) for order in orders[1:]} | {orders[0]: min(errors)}
    order = min(by_order, key=lambda each: by_order[each])
    if by_order[order] == math.inf:
        raise BadInput("no step of the model leads to finite points; look at it with driftback verify")
    method = Multistep(denoiser, order, correct=True)
    plan, ends = fitted_plan(method, times, ways, 2 * quarter)
    squares = (ends - ways.ends)[2 * quarter :].double().square().flatten(1).mean(1)
    bound = float(squares.mean() + 2 * squares.std() / math.sqrt(len(squares)))
    plan, _ = fitted_plan(method, times, ways, n)
    return Fitted(denoiser, times, plan, math.sqrt(bound))


@torch.no_grad()
def fitted_plan(method: Multistep, times: Tensor, ways: Reference, seen: int) -> tuple[tuple[Step, ...], Tensor]:
    """The plan of `method` at `times`, fitted to the first `seen` of the ways, and where it leads all of them."""
    levels = levels_of(method.denoiser.process, times)
    plan: list[Step] = []
    past: list[Tensor] = []
    x = before = ways.ways[0]
    for k, step in enumerate(method.plan(levels)):
        past.append(method.denoiser.denoised(x, levels[k].t))
        if plan and plan[-1].mend is not None:
            old = plan[-1].mend
            here, gain = ways.at(levels[k]), ways.gain(levels[k])
            carry, factors = _fit(before, old.carry, past, old.weights, here[:seen], gain[:seen])
            plan[-1] = replace(plan[-1], mend=Mend(carry, factors))
            x = combined(before, carry, past, factors)
        ending = k + 2 == len(levels)
        target = ways.ends if ending else ways.at(levels[k + 1])
        gain = torch.ones_like(ways.gains[0]) if ending else ways.gain(levels[k + 1])
        carry, factors = _fit(x, step.carry, past, step.weights, target[:seen], gain[:seen])
        plan.append(replace(step, carry=carry, weights=factors))
        before, x = x, combined(x, carry, past, factors)
        past = past[-method.order :]
    return tuple(plan), x


def _fit(
    x: Tensor, carry: float, past: Sequence[Tensor], factors: Sequence[float], target: Tensor, gain: Tensor
) -> tuple[float, tuple[float, ...]]:
    """`carry` and `factors`, changed so that their combination comes nearest to `target` (m, *event), the first m ways.

    Each way counts by its `gain` (m,).
    """
    x, used = x[: len(target)], [value[: len(target)] for value in past[len(past) - len(factors) :]]
    residual, weight = target - combined(x, carry, used, factors), per_item(gain, x)
    change = least_change([weight * part for part in (x - used[-1], *used)], weight * residual)
    added = [*change[1:-1], change[-1] - change[0]]
    return carry + change[0], tuple(w + d for w, d in zip(factors, added, strict=True))


def least_change(parts: Sequence[Tensor], residual: Tensor) -> list[float]:
    """The factors on `parts` whose sum comes nearest to `residual`.

    The first part stands alone, the others are values in order, oldest first; the ridge is on their differences.
    """
    count = len(parts) - 1
    # Row m + 1: the m-th backward difference, as factors on the values.
    rows = np.eye(count + 1)
    for m in range(count):
        rows[m + 1] = 0
        rows[m + 1, count - m :] = [(-1) ** (m - i) * math.comb(m, i) for i in range(m + 1)]
    flat = torch.stack([part.double().flatten() for part in parts])
    gram, right = (flat @ flat.T).cpu().numpy(), (flat @ residual.double().flatten()).cpu().numpy()
    gram, right = rows @ gram @ rows.T, rows @ right
    scale = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
    shrunk = gram / np.outer(scale, scale) + RIDGE * np.eye(count + 1)
    return list((rows.T @ (np.linalg.solve(shrunk, right / scale) / scale)).tolist())
