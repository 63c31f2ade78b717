"""Hamiltonian Monte Carlo: give each chain a push, let it glide for a while, and accept what the steps left of energy.

H(y, z) = -log p(y) + |z|^2 / 2 with z ~ N(0, I), moved by leapfrogs: z += e/2 grad, y += e z, z += e/2 grad, which are
reversible and keep volume, so that min(1, e^(H - H')) is all that is left of the Hastings ratio (Duane et al. 1987,
Physics Letters B 195; Neal 2011, arXiv 1206.1901, section 3). A length that is drawn anew keeps a chain from coming
back to where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.metric import UNIT, Metric
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State
from driftback.shapes import per_item

LOST = 1000.0
"""An energy that has grown by so much will not come back: the move is called divergent (Stan's limit)."""


def leap(
    energy: Energy, metric: Metric, x: Tensor, z: Tensor, gradient: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A leapfrog of flat points `x` and momenta `z` (n, d) by `step`, () or (n, 1): x, z, log p and the gradient."""
    z = z + step / 2 * metric.pull(gradient)
    x = x + metric.push(step * z)
    log_prob, slope = energy.slope(x.reshape(-1, *energy.event_shape))
    slope = slope.flatten(1)
    return x, z + step / 2 * metric.pull(slope), log_prob, slope


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    """HMC: leapfrogs of `step` over a `length` drawn from (1 +- `jitter`) times it, the same for all chains.

    `step` and `length` are in y = S^-1 x of the `metric`; at most `most` leapfrogs are taken.
    """

    energy: Energy
    step: Tensor
    length: float = math.pi / 2
    jitter: float = 1.0
    metric: Metric = UNIT
    most: int = 1000
    aim: float = 0.651
    """For many dimensions (Beskos et al. 2013, arXiv 1001.4460)."""

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event)."""
        return self.energy.begin(x, sloped=True)

    def tuned(self, step: Tensor, metric: Metric | None = None) -> Hamiltonian:
        """The same with another step and, where one is given, another metric."""
        return replace(self, step=step, metric=metric or self.metric)

    def short(self) -> Hamiltonian:
        """The same with one leapfrog a move, for a first guess at the step."""
        return replace(self, most=1)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """Push, glide, accept."""
        z = noise.normal("momentum", (state.x[0].numel(),))
        share = 1 + self.jitter * (2 * float(noise.shared("length").uniform((1,), dtype=torch.float64)) - 1)
        leaps = min(self.most, max(1, math.ceil(share * self.length / float(self.step.mean()))))
        step = per_item(self.step, z)
        before = z.square().sum(1) / 2 - state.log_prob
        x, log_prob, slope = state.x.flatten(1), state.log_prob, state.slope
        for _ in range(leaps):
            x, z, log_prob, slope = leap(self.energy, self.metric, x, z, slope, step)
        after = (z.square().sum(1) / 2 - log_prob).nan_to_num(nan=torch.inf)
        accepted = noise.uniform("accept").log() < before - after
        new = State(x.reshape(state.x.shape), log_prob, slope.reshape(state.x.shape))
        moved = Move(
            accepted,
            (before - after).clamp(max=0).exp(),
            torch.where(accepted, after, before),
            after - before > LOST,
            torch.full_like(accepted, leaps, dtype=torch.long),
        )
        return new.where(accepted, state), moved
