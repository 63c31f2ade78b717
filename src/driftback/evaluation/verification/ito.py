"""A process whose noise is a matrix, or depends on the point: the path, the draws, the bridge and the reverse agree.

Points are simulated along dx = f dt + G dW by the Euler-Maruyama rule and compared with draws of `forward`; the bridge
with the two ends of simulated paths; and Anderson's reversal (Anderson 1982), run back from draws at a late time, with
draws at an early one. All five first and second moments count, so a lost correlation is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.verification.check import Check, near
from driftback.processes.nonlinear import ItoReverse, ItoSDE
from driftback.processes.protocols import Process
from driftback.randomness import Rng
from driftback.samplers.frame import last
from driftback.samplers.milstein import Milstein

ITEMS, STEPS = 4000, 200
ALLOWED = 0.02
"""Of a moment's own size: what the Euler-Maruyama rule may err at 200 steps."""
MIDDLE, LATE = 0.3, 0.8
MOMENTS = ("mean 1", "mean 2", "square 1", "square 2", "product")
Score = Callable[[Tensor, Tensor], Tensor]


def ito(process: ItoSDE, place: Tensor, score: Score | None, rng: Rng) -> Iterator[Check]:
    """The checks of `process` from the point `place` (2,); `score` is that of x_t given it, for the reversal.

    BadInput where it has no `forward` to compare with.
    """
    if not hasattr(process, "forward"):
        raise BadInput("nothing states the law of x_t: add forward(x0, t), which draws it")
    own: Any = process
    start = place.expand(ITEMS, 2)
    middle = _walked(process, start, 0.0, MIDDLE, rng.child("first"))
    late = _walked(process, middle, MIDDLE, LATE, rng.child("second"))
    for t, x in ((MIDDLE, middle), (LATE, late)):
        yield from _alike(f"simulated points at t = {t:g}", x, own.forward(start, t, rng=rng.child("draws", t == LATE)))
    if isinstance(process, Process):
        ends = process.forward(start, LATE, rng=rng.child("late"))
        between = process.bridge(start, ends, LATE, MIDDLE, rng=rng.child("bridge"))
        yield from _alike(f"bridge from t = {LATE:g} to {MIDDLE:g}", between, middle)
        for i in range(2):
            pair, true = (torch.stack([a[:, i], b[:, i]], 1) for a, b in ((between, ends), (middle, late)))
            *_, memory = _alike(f"bridge with its end, number {i + 1}", pair, true)
            yield memory
    if score is not None:
        back = own.forward(start, LATE, rng=rng.child("return"))
        x = _walked(ItoReverse(process, score), back, LATE, MIDDLE, rng.child("reverse"))
        yield from _alike(f"reversed points at t = {MIDDLE:g}", x, own.forward(start, MIDDLE, rng=rng.child("there")))


def _walked(process: ItoSDE, x: Tensor, t: float, s: float, rng: Rng) -> Tensor:
    times = torch.linspace(t, s, STEPS + 1, dtype=torch.float64)
    return last(Milstein(process, correction=False)(x, times, rng=rng)).x


def _alike(what: str, x: Tensor, true: Tensor) -> Iterator[Check]:
    """Two sets of draws (n, 2) of one law, moment by moment; second moments are about the mean of `true`."""
    centre = true.double().mean(0)
    for name, found, expected in zip(MOMENTS, _moments(x, centre), _moments(true, centre), strict=True):
        error = math.hypot(float(found.std()), float(expected.std())) / math.sqrt(len(x))
        allowed = ALLOWED * float(expected.square().mean().sqrt())
        yield near(f"{name} of {what}", float(found.mean()), float(expected.mean()), error, allowed, len(x))


def _moments(x: Tensor, centre: Tensor) -> tuple[Tensor, ...]:
    a, b = (x.double() - centre).unbind(1)
    return x[:, 0].double(), x[:, 1].double(), a**2, b**2, a * b
