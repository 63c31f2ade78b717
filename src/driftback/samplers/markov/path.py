"""The annealed path from what is easy to draw from to a target, as something that kernels take as an energy.

log p_b(x) = (1 - b) log p_0(x) + b log p(x) = log p_0(x) + b u(x), u = log p - log p_0 (Neal 2001, arXiv
physics/9803008, equation 3). Weights need u, and nothing has to be kept for it: log p_0 costs no evaluation of the
target, so u = (log p_b - log p_0) / b is read off any state that a kernel leaves, and its gradient likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.target import Target
from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy, Gradient
from driftback.samplers.markov.metropolis import Drawn
from driftback.samplers.markov.state import State
from driftback.shapes import per_item

Beta = float | Tensor
"""An inverse temperature from 0 (the reference) to 1 (the target): one number, or for each chain its own, (n,)."""


@dataclass(frozen=True, eq=False)
class Path:
    """From the normalised `reference` to the `target`, whose `gradient` may be handed in.

    `energy` is the target's: it counts the evaluations at all temperatures together. Those of the reference are not
    counted. BadInput where the two live on events of different shapes.
    """

    reference: Drawn
    target: Target
    gradient: Gradient | None = None
    energy: Energy = field(init=False, repr=False)
    simple: Energy = field(init=False, repr=False)

    def __post_init__(self) -> None:
        here, there = tuple(self.reference.event_shape), tuple(self.target.event_shape)
        if here != there:
            raise BadInput(f"the reference draws points of shape {here}, the target takes {there}; make them alike")
        object.__setattr__(self, "energy", Energy(self.target, self.gradient))
        object.__setattr__(self, "simple", Energy(self.reference))

    def at(self, beta: Beta) -> Tempered:
        """The energy of p_b at b = `beta`."""
        return Tempered(self, beta)

    def gain(self, state: State, beta: Beta) -> Tensor:
        """u (n,) at a `state` of p_b with b = `beta` > 0, without an evaluation of the target."""
        base = self.simple.value(state.x)
        gain = (state.log_prob - base) / torch.as_tensor(beta).to(base)
        return torch.where(state.log_prob > -torch.inf, gain, -torch.inf)

    def legible(self, state: State, beta: float) -> tuple[State, float]:
        """A `state` from which u can be read, and its temperature: the target's own where `beta` is so small that the
        digits of u were lost beside log p_0, for one more evaluation per point; else the same.
        """
        if beta >= torch.finfo(state.x.dtype).eps ** 0.5:
            return state, beta
        return self.at(1.0).state(state.x, sloped=state.gradient is not None), 1.0

    def shifted(self, state: State, beta: Beta, new: Beta) -> State:
        """A `state` of p_b, b = `beta` > 0, seen from b = `new`: the same points, without an evaluation of the target.

        A state of the target itself is one of `beta` = 1.
        """
        ratio = (torch.as_tensor(new, dtype=torch.float64) / beta).to(state.x)
        if state.gradient is None:
            return State(state.x, _mixed(self.simple.value(state.x), state.log_prob, ratio))
        base, slope = self.simple.slope(state.x)
        gradient = slope + per_item(ratio, state.x) * (state.gradient - slope)
        return State(state.x, _mixed(base, state.log_prob, ratio), gradient)


class Tempered(Energy):
    """The energy of p_b on a `path`: what is counted, and how NaN is taken, is the business of the path's target."""

    def __init__(self, path: Path, beta: Beta) -> None:
        self.path, self.beta = path, torch.as_tensor(beta, dtype=torch.float64)
        if not bool(((self.beta >= 0) & (self.beta <= 1)).all()):
            raise BadInput(f"an inverse temperature is {beta}; give numbers from 0 to 1")
        self.target, self.gradient = path.target, path.energy.gradient

    def __getattr__(self, name: str) -> Any:
        # The counters, which are not set here.
        return getattr(self.path.energy, name)

    @property
    def lenient(self) -> bool:
        """Whether NaN counts as minus infinity."""
        return self.path.energy.lenient

    @lenient.setter
    def lenient(self, lenient: bool) -> None:
        self.path.energy.lenient = lenient

    def ability(self, name: str) -> None:
        """None: what the target can do beside its density and gradient holds for the target alone."""

    def value(self, x: Tensor) -> Tensor:
        return _mixed(self.path.simple.value(x), self.path.energy.value(x), self._fitting(x))

    def slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        beta = self._fitting(x)
        base, simple = self.path.simple.slope(x)
        value, slope = self.path.energy.slope(x)
        return _mixed(base, value, beta), simple + per_item(beta, x) * (slope - simple)

    def _fitting(self, x: Tensor) -> Tensor:
        """The betas of all rows of `x`. BadInput for some rows of those that have one each."""
        if self.beta.ndim and len(self.beta) != len(x):
            raise BadInput(
                "a tempered kernel has to move all chains at once, and this one moves some; take one that does, like "
                "Hamiltonian, Metropolis or Flips"
            )
        return self.beta.to(x)


def _mixed(base: Tensor, value: Tensor, beta: Tensor) -> Tensor:
    """(1 - b) `base` + b `value`, and minus infinity where either is: no p_b has mass outside of both supports."""
    inside = (base > -torch.inf) & (value > -torch.inf)
    return torch.where(inside, base + beta * (value - base), -torch.inf)
