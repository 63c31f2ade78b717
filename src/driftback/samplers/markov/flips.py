"""Flips of coordinates that take two values: at a site of chance, or rather where a flip would do the target good.

A uniform site is taken by Metropolis' rule. The informed site is i with probability q(i | x) = softmax_i(D_i(x) / 2),
where D_i is what the flip adds to log p: the weight sqrt(p(x^i) / p(x)) is locally balanced (Zanella 2020, arXiv
1711.07424), and the ratio p(x') q(i | x') / (p(x) q(i | x)) makes it exact whatever D is. Where the target
does not tell its flip_differences, D is the gradient's guess (Grathwohl et al. 2021, arXiv 2102.04509).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State


@dataclass(frozen=True, eq=False)
class Flips:
    """`times` proposals a move, each of one site of chance per chain; coordinates take the two `values`."""

    energy: Energy
    values: tuple[float, float] = (-1.0, 1.0)
    times: int = 1

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput where a coordinate is neither of the values."""
        _two_valued(x, self.values, self.times)
        return self.energy.begin(x, sloped=False)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """Flip, and accept or flip back, so many times."""
        return _repeated(self._flip, state, noise, self.times)

    def _flip(self, state: State, dice: Tensor) -> tuple[State, Move]:
        site = (dice[:, 0] * state.x[0].numel()).long()
        new = self.energy.state(_flipped(state.x, site, self.values), sloped=False)
        log_ratio = new.log_prob - state.log_prob
        accepted = dice[:, 1].log() < log_ratio
        return new.where(accepted, state), Move(accepted, log_ratio.clamp(max=0).exp())


@dataclass(frozen=True, eq=False)
class InformedFlips:
    """`times` proposals a move, each of one informed site per chain; coordinates take the two `values`.

    All flips' differences at a point count as one evaluation of a gradient.
    """

    energy: Energy
    values: tuple[float, float] = (-1.0, 1.0)
    times: int = 1

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput where a coordinate is neither of the values."""
        _two_valued(x, self.values, self.times)
        self.energy.begin(x, sloped=False)
        return self._state(x)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """Flip, and accept or flip back, so many times."""
        return _repeated(self._flip, state, noise, self.times)

    def log_chances(self, state: State) -> Tensor:
        """log q(i | x) of each site of the flattened event, (n, d)."""
        if state.carried is None:
            raise BadInput("this state does not tell what flips would change; let the kernel that uses it begin it")
        return (state.carried.flatten(1) / 2).log_softmax(1)

    def _flip(self, state: State, dice: Tensor) -> tuple[State, Move]:
        there = self.log_chances(state)
        steps = there.double().exp().cumsum(1)
        # The staircase may end below 1 by rounding: the last step reaches up to it.
        site = (dice[:, :1] >= steps[:, :-1]).sum(1)
        new = self._state(_flipped(state.x, site, self.values))
        back, column = self.log_chances(new), site[:, None]
        log_ratio = new.log_prob - state.log_prob + (back.gather(1, column) - there.gather(1, column))[:, 0]
        accepted = dice[:, 1].log() < log_ratio
        return new.where(accepted, state), Move(accepted, log_ratio.clamp(max=0).exp())

    def _state(self, x: Tensor) -> State:
        known = self.energy.ability("flip_differences")
        if known is None:
            log_prob, slope = self.energy.slope(x)
            return State(x, log_prob, carried=slope * (sum(self.values) - 2 * x))
        log_prob = self.energy.value(x)
        self.energy.gradients += len(x)
        differences = known(x)
        if differences.shape != x.shape or bool(differences.isnan().any()):
            raise BadDensity(f"flip_differences gave NaN or shape {tuple(differences.shape)}; give {tuple(x.shape)}")
        return State(x, log_prob, carried=differences.to(x.dtype))


def _flipped(x: Tensor, site: Tensor, values: tuple[float, float]) -> Tensor:
    """`x` with coordinate `site` (n,) of each chain at its other value."""
    flat = x.flatten(1).clone()
    rows = torch.arange(len(x), device=x.device)
    flat[rows, site] = torch.where(flat[rows, site] == values[0], values[1], values[0]).to(x.dtype)
    return flat.reshape(x.shape)


def _two_valued(x: Tensor, values: tuple[float, float], times: int) -> None:
    if times < 1 or values[0] == values[1]:
        raise BadInput(f"flips got {times} times and values {values}; give at least 1 and two different numbers")
    if not bool(((x == values[0]) | (x == values[1])).all()):
        raise BadInput(f"flips want coordinates that are {values[0]:g} or {values[1]:g}; start there, or give values")


def _repeated(
    flip: Callable[[State, Tensor], tuple[State, Move]], state: State, noise: Noise, times: int
) -> tuple[State, Move]:
    """`times` flips; whether any was accepted, and the mean probability."""
    accepted, chance = None, torch.zeros_like(state.log_prob)
    for dice in noise.uniform("flip", (times, 2)).unbind(1):
        state, move = flip(state, dice)
        accepted = move.accepted if accepted is None else accepted | move.accepted
        chance = chance + move.probability / times
    return state, Move(torch.ones_like(chance, dtype=torch.bool) if accepted is None else accepted, chance)
