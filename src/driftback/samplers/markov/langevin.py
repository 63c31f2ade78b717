"""Langevin moves that nobody checks: each is taken, at the price of a law that is wrong in the second order of the
step.

x' = x + step^2/2 S S^T grad log p + sqrt(T) step S z keeps p^(1/T) as step -> 0 (Roberts and Tweedie 1996, Bernoulli
2). At a fixed step, on N(0, s^2) in y = S^-1 x, the variance is T s^2 / (1 - step^2 / (4 s^2)), and there is none from
step = 2 s on. With a ladder of temperatures down to 1 it is simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983,
Science 220), for densities what `driftback.samplers.Langevin` is for a denoiser's noise levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.metric import UNIT, Metric
from driftback.samplers.markov.metropolis import Langevin
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State


@dataclass(frozen=True, eq=False)
class UnadjustedLangevin:
    """The proposal of `Langevin` with the same `step` and `metric`, taken always; the target is p^(1/`temperature`).

    Where it leads out of the support, the chain stays. BadInput unless the temperature is positive.
    """

    energy: Energy
    step: Tensor
    metric: Metric = UNIT
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise BadInput(f"Langevin moves got the temperature {self.temperature}; give a positive one")

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event); its log_prob is log p, at any temperature."""
        return self.energy.begin(x, sloped=True)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """Propose, and go."""
        root = self.temperature**0.5
        drift = State(state.x, state.log_prob, None if state.gradient is None else state.gradient / self.temperature)
        x = Langevin(self.step * root, self.metric).propose(drift, noise)
        new = self.energy.state(x, sloped=True)
        inside = new.log_prob > -torch.inf
        return new.where(inside, state), Move(inside, inside.to(state.log_prob))


def annealed(
    kernel: UnadjustedLangevin, state: State, noise: Noise, temperatures: Sequence[float], moves: int
) -> Iterator[tuple[State, Move]]:
    """`moves` at each of the `temperatures`: hot ones wander between modes, and the last is the target's, 1."""
    if not temperatures or moves < 1:
        raise BadInput(f"annealing got {len(temperatures)} temperatures and {moves} moves; give at least 1 of each")
    for level, temperature in enumerate(temperatures):
        now = replace(kernel, temperature=temperature)
        for k in range(moves):
            state, move = now(state, noise.at(noise.k + level * moves + k))
            yield state, move
