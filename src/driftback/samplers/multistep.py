"""Exponential multistep methods: the linear part exactly, the rest by a polynomial through the past evaluations.

x_s = carry x_t + sum_j w_j v_j + deviation z, where v_j are the last `order` values of D or eps and the w_j are exact
integrals (see `driftback.samplers.exponential`). One class with a handful of parameters is the exponential
Adams-Bashforth method of any order and DEIS (Zhang and Chen 2023, arXiv 2204.13902), DPM-Solver++ in its multistep form
(Lu et al. 2022, arXiv 2211.01095, algorithm 2), its SDE (equation 19 there) and UniPC (Zhao et al. 2023, arXiv
2302.04867): `driftback.samplers.published` names them. With `correct`, each evaluation is used twice: to mend the step
that led to it, as in an implicit (Adams-Moulton) method, and to begin the next one; that costs no evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import DATA, Bounded, Clock, Form, Level, weights
from driftback.samplers.frame import Frame
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Mend:
    """How a step is taken again when the value at its end is known: the factors on x and on the last values."""

    carry: float
    weights: tuple[float, ...]
    """Oldest first, the last one for the value at the step's end."""


@dataclass(frozen=True)
class Step:
    """One step of a plan: the factors on x, on the last values (oldest first) and on fresh noise, and its `mend`."""

    carry: float
    weights: tuple[float, ...]
    deviation: float = 0.0
    mend: Mend | None = None
    form: Form = DATA


@dataclass(frozen=True)
class Multistep:
    """One evaluation a step, on any decreasing times in [0, 1]; order `order` for smooth ways.

    `clock` is what the polynomial is in, `form` whether it is D or eps, `noise` the level eta >= 0 of the reverse
    equation (0 the ODE, 1 Anderson's SDE). `correct` mends each step by the next evaluation. `halved` weighs two values
    as DPM-Solver++ (2M) and UniPC print it. The order rises from 1 with the values that there are, and is 1 where
    `clock` is infinite at an end of the step, and with noise into sigma = 0; with `taper` it falls step by step towards
    an end at sigma = 0. BadInput unless order >= 1 and noise >= 0.
    """

    denoiser: Denoiser
    order: int = 3
    clock: Clock | None = None
    """None: `Bounded` at .4 of the process's spread, which was best on mixtures (docs/solvers.md)."""
    form: Form = DATA
    noise: float = 0.0
    correct: bool = False
    halved: bool = False
    taper: bool = False

    def __post_init__(self) -> None:
        if self.order < 1 or not self.noise >= 0:
            raise BadInput(f"order {self.order} with noise {self.noise} is no method; give order >= 1 and noise >= 0")

    def plan(self, levels: tuple[Level, ...]) -> tuple[Step, ...]:
        """The steps between `levels`, for this method."""
        clock = self.clock or Bounded(0.4 * self.denoiser.process.spread)
        return _planned(levels, self.order, clock, self.form, self.noise, self.correct, self.halved, self.taper)

    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels = levels_of(self.denoiser.process, times)
        return follow(self.denoiser, levels, self.plan(levels), x, rng=rng)


@torch.no_grad()
def follow(
    denoiser: Denoiser,
    levels: tuple[Level, ...],
    plan: tuple[Step, ...],
    x: Tensor,
    *,
    rng: Rng | int | None = None,
) -> Iterator[Frame]:
    """Walk along `plan`: the frames of `x` (n, *event) at `levels`, the first being `x` itself."""
    noises = step_noise(levels, x, as_rng(rng))
    yield Frame(levels[0].t, x)
    longest = max((len(step.weights) for step in plan), default=0)
    past: list[Tensor] = []
    before, shaken, mend = x, None, None
    for k, step in enumerate(plan):
        past.append(step.form.value(x, denoiser.denoised(x, levels[k].t), levels[k]))
        if mend is not None:
            x = combined(before, mend.carry, past, mend.weights, shaken)
        before, mend = x, step.mend
        shaken = next(noises) * step.deviation if step.deviation else None
        x = combined(before, step.carry, past, step.weights, shaken)
        del past[:-longest]
        yield Frame(levels[k + 1].t, x, k + 1)


def combined(
    x: Tensor, carry: float, past: Sequence[Tensor], factors: Sequence[float], shaken: Tensor | None = None
) -> Tensor:
    """carry x + shaken + the last of `past` times `factors`, oldest first: the shape of `x`."""
    out = x * carry if shaken is None else torch.add(shaken, x, alpha=carry)
    for factor, value in zip(factors, past[len(past) - len(factors) :], strict=True):
        out = torch.add(out, value, alpha=factor)
    return out


@lru_cache(maxsize=64)
def _planned(
    levels: tuple[Level, ...],
    order: int,
    clock: Clock,
    form: Form,
    noise: float,
    correct: bool,
    halved: bool,
    taper: bool,
) -> tuple[Step, ...]:
    plan = []
    for k, (now, after) in enumerate(pairwise(levels)):
        # With noise into sigma = 0 D itself is the end; in eps fresh noise would be left over there.
        own = form if form.usable(now) and not (noise and after.sigma == 0) else DATA
        known = [level.ratio for level in levels[max(0, k + 1 - order) : k + 1] if own.usable(level)]
        if taper and levels[-1].sigma == 0:
            known = known[-(len(levels) - 1 - k) :]
        if noise and after.sigma == 0:
            # The last values differ by noise, and the end lies many of their distances ahead: a polynomial blows up.
            known = known[-1:]
        ends = clock(np.array([now.ratio, after.ratio]))
        regular = bool(np.isfinite(ends).all()) and own is form
        known = [ratio for ratio in known if np.isfinite(clock(np.array(ratio)))] if regular else known[-1:]
        factors = weights(own, clock, noise, now, after, known, halved=halved)
        carry, deviation = own.carry(now, after, noise), own.deviation(now, after, noise)
        mend = None
        if correct and regular and after.sigma > 0:
            again = weights(own, clock, noise, now, after, [*known, after.ratio], halved=halved)
            mend = Mend(carry, tuple(again))
        plan.append(Step(carry, tuple(factors), deviation, mend, own))
    return tuple(plan)
