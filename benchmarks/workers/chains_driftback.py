"""driftback's NUTS for benchmarks/chains.py: `driftback.draw` with its own settings, or with a dense shape.

What numba compiles is kept on disk; the first call of a target, which would do it, is not measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

import driftback as db
from driftback.distributions.target import Problem
from driftback.samplers.markov import Energy
from workers.chains import Asked, Clock, Ran, serve, threads
from workers.chains_targets import DIMENSIONS, TORCH, covariance, density, points, precision, problem, starts


@dataclass(frozen=True, eq=False)
class Lean:
    """A Gaussian by its precision: the diagonal (d,) of it, or the matrix (d, d)."""

    target: str

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (DIMENSIONS[self.target],)

    def log_prob(self, x: Tensor) -> Tensor:
        """As everybody has it."""
        return _density(self.target)(x)

    def log_prob_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both by one product, as JAX's workers have it."""
        precise = _precision(self.target)
        pull = -x * precise if precise.ndim == 1 else -x @ precise
        return (pull * x).sum(1) / 2, pull


_density = cache(lambda target: density(target, TORCH))


@cache
def _precision(target: str) -> Tensor:
    return torch.from_numpy(1 / covariance(target).diagonal() if target == "gaussian" else precision(target))


@cache
def ours(target: str) -> Problem:
    """The problem that is drawn from."""
    own = problem(target)
    return replace(own, target=Lean(target)) if target.startswith("gaussian") else own


class Driftback:
    """NUTS, whose warm-up is as long as `draw` thinks right where `warmup` is 0."""

    package = "driftback"
    counts = "gradients"

    def __init__(self) -> None:
        threads()
        self.met: set[str] = set()

    def check(self, target: str) -> dict:
        value, slope = Energy(ours(target).target).slope(torch.from_numpy(points(target)))
        return {"log_prob": value.tolist(), "gradient": slope.tolist()}

    def prepare(self, asked: Asked) -> None:
        """Nothing is compiled."""

    def run(self, asked: Asked, seed: int) -> Ran:
        if asked.target not in self.met:
            self.met.add(asked.target)
            self.run(Asked(asked.target, 2, 2, 20, "dense"), seed)  # the first call of anything is slow
        warm, draw = Clock(), Clock()
        marks: list[tuple[float, float]] = []

        def mark(done: int, of: int, phase: str) -> None:
            if phase == "warm-up" and done == of:
                marks.append((time.perf_counter(), time.process_time()))

        begun = time.perf_counter(), time.process_time()
        drawn = db.draw(
            ours(asked.target),
            asked.chains * asked.draws,
            chains=asked.chains,
            warmup=asked.warmup or None,
            seed=seed,
            start=starts(asked.target, asked.chains, seed),
            progress=mark,
            dense=asked.metric == "dense",
        )
        ended = time.perf_counter(), time.process_time()
        (between,) = marks
        warm.add(between[0] - begun[0], between[1] - begun[1])
        draw.add(ended[0] - between[0], ended[1] - between[1])
        leaps = int(drawn.stats["leaps"].sum())
        return Ran(drawn.chains.numpy(), (drawn.gradient_evaluations - leaps, leaps), warm, draw)


if __name__ == "__main__":
    serve(Driftback)
