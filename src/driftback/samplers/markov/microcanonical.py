"""Microcanonical dynamics: points whose speed never changes; the slope of log p only turns them.

With |u| = 1 and g = S^T grad log p in y = S^-1 x: dy = sqrt(d) u dt, du = sqrt(d) / (d - 1) (g - u (u . g)) dt. The
speed is that of HMC's points, sqrt(d), so step and length mean the same there and here (the papers' have a factor
sqrt(d)). A turn over the time h is exact: with e = g / |g|, delta = h sqrt(d) |g| / (d - 1) and c = u . e,

    u' ~ u + e (sinh delta + c (cosh delta - 1)),    dK = (d - 1) log(cosh delta + c sinh delta),

and it shrinks the sphere's volume by e^-dK, so the energy changes by dE = dK - d log p over turn, drift, turn, the
isokinetic leapfrog, and min(1, e^-dE) is all that is left of the Hastings ratio (Robnik et al. 2023, arXiv 2212.08549;
adjusted: Robnik, Cohn-Gordon and Seljak 2025, arXiv 2503.01707).

Adjusted, there is no bias. Unadjusted there is one, of the step's second order, which falls as the cube root of the
energy's variance that the warm-up aims at: on normal laws the mean of x^2 is too large by 2.9% in 2 dimensions, 3.3%
in 10 and 3.4% in 100 at the paper's 5e-4, and by .7% in 10 at 4e-6 (measured; the first +- .2%, the others +- .1%).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.hamiltonian import LOST
from driftback.samplers.markov.metric import UNIT, Metric
from driftback.samplers.markov.microcanonical_warmup import warm
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State
from driftback.shapes import per_item


def turn(u: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Directions `u` (n, d) after the slope `g` (n, d) has turned them for the time `h`, () or (n, 1), and dK (n,)."""
    d = u.shape[1]
    size = g.norm(dim=1, keepdim=True)
    e = g / size.clamp(min=torch.finfo(g.dtype).tiny)
    delta = h * math.sqrt(d) / (d - 1) * size
    c, fallen = (u * e).sum(1, keepdim=True), (-delta).exp()
    # Both are divided by e^delta / 2, which would overflow.
    turned = 2 * fallen * u + e * (1 - fallen) * (1 + fallen + c * (1 - fallen))
    grown = delta - math.log(2) + ((1 + c) + (1 - c) * fallen.square()).log()
    return turned / turned.norm(dim=1, keepdim=True), (d - 1) * grown[:, 0]


def isokinetic(
    energy: Energy, metric: Metric, x: Tensor, u: Tensor, gradient: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A leapfrog of flat points `x` and directions `u` (n, d) by `step`, () or (n, 1): x, u, log p, gradient, dK."""
    u, first = turn(u, metric.pull(gradient), step / 2)
    x = x + metric.push(step * math.sqrt(x.shape[1]) * u)
    log_prob, slope = energy.slope(x.reshape(-1, *energy.event_shape))
    slope = slope.flatten(1)
    u, second = turn(u, metric.pull(slope), step / 2)
    return x, u, log_prob, slope, first + second


@dataclass(frozen=True, eq=False)
class Glide(Move):
    """A move, and by how much the energy `changed` (n,) on the way: the integrator's error."""

    changed: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Microcanonical:
    """One leapfrog of `step` a move, after which a direction forgets itself over the `length`; nothing is refused.

    It is biased. `variance` is that of the energy's error per dimension which its warm-up aims at (the paper's 5e-4). A
    move that leaves the support, or whose energy is lost, is not made. The warm-up finds step, metric and length.
    """

    energy: Energy
    step: Tensor
    length: float = 1.0
    metric: Metric = UNIT
    variance: float = 5e-4

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput in one dimension, where no direction can turn."""
        return _begun(self.energy, x)

    def tuned(self, step: Tensor, metric: Metric | None = None) -> Microcanonical:
        """The same with another step and, where one is given, another metric."""
        return replace(self, step=step, metric=metric or self.metric)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Glide]:
        """Turn, drift, turn, and forget a little."""
        flat, slope = state.x.flatten(1), state.slope
        fresh = noise.normal("direction", (2, flat.shape[1]))
        u = state.carried if state.carried is not None else _unit(fresh[:, 0])
        step = per_item(self.step, flat)
        x, u, log_prob, slope, kinetic = isokinetic(self.energy, self.metric, flat, u, slope, step)
        changed = kinetic - (log_prob - state.log_prob)
        good = (changed.abs() < LOST) & (log_prob > -torch.inf)
        blur = ((2 * step / self.length).expm1() / flat.shape[1]).sqrt()
        new = State(x.reshape(state.x.shape), log_prob, slope.reshape(state.x.shape), _unit(u + blur * fresh[:, 1]))
        old = State(state.x, state.log_prob, state.gradient, _unit(fresh[:, 0]))
        return new.where(good, old), Glide(
            good, good.to(log_prob), divergent=~good, leaps=torch.ones_like(good, dtype=torch.long), changed=changed
        )

    def warm(self, state: State, noise: Noise, moves: int) -> Iterator[tuple[Microcanonical, State, Glide]]:
        """Move, and find the step, the shape and the length; see `microcanonical_warmup.py`."""
        return warm(self, state, noise, moves)


@dataclass(frozen=True, eq=False)
class AdjustedMicrocanonical:
    """Leapfrogs of `step` over a `length` drawn from (1 +- `jitter`) times it, from a fresh direction; then the test.

    At most `most` leapfrogs are taken. It leaves the target invariant.
    """

    energy: Energy
    step: Tensor
    length: float = math.pi / 2
    jitter: float = 1.0
    metric: Metric = UNIT
    most: int = 1000
    aim: float = 0.9
    """The paper's."""

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput in one dimension, where no direction can turn."""
        return _begun(self.energy, x)

    def tuned(self, step: Tensor, metric: Metric | None = None) -> AdjustedMicrocanonical:
        """The same with another step and, where one is given, another metric."""
        return replace(self, step=step, metric=metric or self.metric)

    def short(self) -> AdjustedMicrocanonical:
        """The same with one leapfrog a move, for a first guess at the step."""
        return replace(self, most=1)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Glide]:
        """Start in any direction, glide, accept."""
        x, slope, log_prob = state.x.flatten(1), state.slope, state.log_prob
        u = _unit(noise.normal("direction", (x.shape[1],)))
        share = 1 + self.jitter * (2 * float(noise.shared("length").uniform((1,), dtype=torch.float64)) - 1)
        leaps = min(self.most, max(1, math.ceil(share * self.length / float(self.step.mean()))))
        step, kinetic = per_item(self.step, x), torch.zeros_like(log_prob)
        for _ in range(leaps):
            x, u, log_prob, slope, more = isokinetic(self.energy, self.metric, x, u, slope, step)
            kinetic = kinetic + more
        changed = (kinetic - (log_prob - state.log_prob)).nan_to_num(nan=torch.inf)
        accepted = noise.uniform("accept").log() < -changed
        new = State(x.reshape(state.x.shape), log_prob, slope.reshape(state.x.shape))
        moved = Glide(
            accepted,
            (-changed).clamp(max=0).exp(),
            divergent=changed > LOST,
            leaps=torch.full_like(accepted, leaps, dtype=torch.long),
            changed=changed,
        )
        return new.where(accepted, state), moved


def _begun(energy: Energy, x: Tensor) -> State:
    if x[0].numel() < 2:
        raise BadInput("microcanonical moves need two dimensions or more; take Hamiltonian or NUTS in one")
    return energy.begin(x, sloped=True)


def _unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)
