"""An adaptive embedded pair for the probability-flow ODE: every item takes the steps that its own way needs.

In y = x / alpha and l = log(sigma / alpha) the ODE is dy/dl = y - D. Bogacki and Shampine's pair of orders 3 and 2
(1989, 'A 3(2) pair of Runge-Kutta formulas') costs three evaluations a step, its last one being the next step's first;
a step whose estimated error is above the tolerance is taken again, shorter (Hairer, Norsett and Wanner 1993, section
II.4). Relative errors in y - mean are kept by the way, so they are measured against sqrt(spread^2 + r^2), y's own size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.exponential import DATA, Level
from driftback.samplers.frame import Frame
from driftback.samplers.levels import level_at, levels_of
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item

LARGE = 1e3
"""From pure noise (alpha = 0) the first step leads to a ratio of so many spreads, where D hardly moves."""


@dataclass(frozen=True)
class Adaptive:
    """Lands on each of the given decreasing times in [0, 1]: give few, `adaptive_times` makes three.

    `tolerance` is the error of a step, root mean square over the event, in units of the spread of the data. An item's
    steps do not depend on the others; the frames tell the evaluations of the item that needed most. Into sigma = 0 it
    takes Euler's step. BadInput unless 0 < tolerance < 1, or if `most` evaluations do not suffice.
    """

    denoiser: Denoiser
    tolerance: float = 1e-3
    most: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise BadInput(f"a tolerance of {self.tolerance} is none; give one between 0 and 1, 0.001 as a rule")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times`, the first being `x` (n, *event) itself."""
        levels, evaluations = levels_of(self.denoiser.process, times), 0
        step = torch.full((len(x),), 0.1, dtype=torch.float64, device=x.device)
        yield Frame(levels[0].t, x)
        for now, after in pairwise(levels):
            if now.alpha == 0 or after.sigma == 0:
                far = max(after.ratio, LARGE * self.denoiser.process.spread)
                landing = after if after.sigma == 0 else level_at(self.denoiser.process, far)
                carry = DATA.carry(now, landing, 0.0)
                x = carry * x + (landing.alpha - carry * now.alpha) * self.denoiser.denoised(x, now.t)
                now, evaluations = landing, evaluations + 1
            if now.ratio > after.ratio:
                x, step, spent = self._way(x, now, after, step, evaluations)
                evaluations += spent
            yield Frame(after.t, x, evaluations)

    def _slope(self, y: Tensor, clock: Tensor) -> Tensor:
        t = self.denoiser.process.time_of(clock.exp())
        return y - self.denoiser.denoised(y * per_item(self.denoiser.process.alpha(t), y), t)

    def _way(self, x: Tensor, now: Level, after: Level, step: Tensor, before: int) -> tuple[Tensor, Tensor, int]:
        """The points at `after`, each item's last step, and the evaluations of the item that needed most."""
        y, end = x / now.alpha, math.log(after.ratio)
        clock = torch.full((len(x),), math.log(now.ratio), dtype=torch.float64, device=x.device)
        first, spent = self._slope(y, clock), 1
        while bool((clock > end).any()):
            if before + spent > self.most:
                raise BadInput(
                    f"{self.most} evaluations do not reach a tolerance of {self.tolerance}; raise it, or raise most"
                )
            h = torch.minimum(step, clock - end)
            minus = per_item(-h, y)
            second = self._slope(y + minus / 2 * first, clock - h / 2)
            third = self._slope(y + minus * 3 / 4 * second, clock - h * 3 / 4)
            ahead = y + minus * (2 / 9 * first + 1 / 3 * second + 4 / 9 * third)
            there = torch.where(h == clock - end, torch.full_like(clock, end), clock - h)
            fourth, spent = self._slope(ahead, there), spent + 3
            off = minus * (-5 / 72 * first + 1 / 12 * second + 1 / 9 * third - 1 / 8 * fourth)
            size = torch.sqrt(self.denoiser.process.spread**2 + (2 * clock).exp())
            error = off.flatten(1).double().square().mean(1).sqrt() / (self.tolerance * size)
            refuse_not_finite(error)
            # An item that has arrived waits for the others in steps of no length, whose error is 0.
            fits = error <= 1
            y, first = (
                torch.where(per_item(fits.double(), y) > 0, new, old) for new, old in ((ahead, y), (fourth, first))
            )
            clock = torch.where(fits, there, clock)
            grown = step * (0.9 * error.clamp(min=1e-12) ** (-1 / 3)).clamp(0.2, 5.0)
            # A step cut short at the end says nothing against the longer one that was planned.
            step = torch.where(fits & (h < step), step, grown.clamp(max=5.0))
        return y * after.alpha, step, spent


def refuse_not_finite(error: Tensor) -> None:
    """BadInput where the estimated `error` (n,) of a step is no number: shorter steps would not make it one."""
    if not bool(torch.isfinite(error).all()):
        item = int(torch.isfinite(error).logical_not().nonzero()[0])
        raise BadInput(f"D is not finite on the way of item {item}; look at the model with driftback verify")


def adaptive_times(denoiser: Denoiser, *, low: float = 0.004, high: float = 160.0) -> Tensor:
    """The times at which the ratio is `high` and `low` spreads, cut to the process's range, and 0: float64 (3,)."""
    process = denoiser.process
    bottom, top = float(process.ratio(0.0)), float(process.ratio(1.0))
    ratios = torch.tensor([min(high * process.spread, top), max(low * process.spread, bottom)], dtype=torch.float64)
    times = process.time_of(ratios).clamp(0, 1)
    return torch.cat([times, times.new_zeros(1)]) if float(times[1]) > 0 else times
