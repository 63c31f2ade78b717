"""Metropolis and Hastings: propose a move, and take it with probability min(1, p(x') q(x | x') / (p(x) q(x' | x))).

Then p(x) K(x, x') is symmetric (detailed balance), so p is invariant, whatever the proposal q (Metropolis et al. 1953;
Hastings 1970, Biometrika 57, equation 8). The Langevin proposal makes it MALA (Roberts and Tweedie 1996, Bernoulli 2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from driftback.distributions.protocols import Density, Source
from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.metric import UNIT, Metric
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State
from driftback.shapes import per_item


class Proposal(Protocol):
    """Where to go next."""

    sloped: bool
    """Whether it looks at the gradient."""

    def propose(self, state: State, noise: Noise) -> Tensor:
        """Points (n, *event) to move to from `state`."""
        ...

    def log_ratio(self, state: State, new: State) -> Tensor | float:
        """log q(x | x') - log q(x' | x) for x of `state` and x' of `new`: (n,), or 0 for a symmetric proposal."""
        ...


@dataclass(frozen=True, eq=False)
class Metropolis:
    """The chain of a `proposal` that leaves the target of `energy` invariant."""

    energy: Energy
    proposal: Proposal

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event)."""
        return self.energy.begin(x, sloped=self.proposal.sloped)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """Propose, and accept or stay."""
        new = self.energy.state(self.proposal.propose(state, noise), sloped=self.proposal.sloped)
        log_ratio = new.log_prob - state.log_prob + self.proposal.log_ratio(state, new)
        # Where a step is so long that its square overflows, the ratio is infinity less infinity: it is not taken.
        log_ratio = torch.where(log_ratio.isnan(), -torch.inf, log_ratio)
        accepted = noise.uniform("accept").log() < log_ratio
        return new.where(accepted, state), Move(accepted, log_ratio.clamp(max=0).exp())

    @property
    def aim(self) -> float:
        """The acceptance at which its proposal works best."""
        return getattr(self.proposal, "aim", 0.5)

    @property
    def stepping(self) -> bool:
        """Whether its proposal has a step to tune."""
        return hasattr(self.proposal, "step")

    @property
    def step(self) -> Tensor:
        """The step of its proposal."""
        return _stepping(self.proposal).step

    @property
    def metric(self) -> Metric:
        """The metric of its proposal."""
        return _stepping(self.proposal).metric

    def tuned(self, step: Tensor, metric: Metric | None = None) -> Metropolis:
        """The same chain with another step and, where one is given, another metric."""
        changes = {"step": step} if metric is None else {"step": step, "metric": metric}
        return replace(self, proposal=replace(_stepping(self.proposal), **changes))


@dataclass(frozen=True, eq=False)
class RandomWalk:
    """x' = x + step S z with z ~ N(0, I): a symmetric proposal."""

    step: Tensor
    metric: Metric = UNIT
    sloped = False
    aim = 0.234
    """For many dimensions (Roberts, Gelman and Gilks 1997, Annals of Applied Probability 7); .44 in one."""

    def propose(self, state: State, noise: Noise) -> Tensor:
        z = noise.normal("proposal", state.x.shape[1:])
        return state.x + per_item(self.step, state.x) * self.metric.push(z.flatten(1)).reshape(state.x.shape)

    def log_ratio(self, state: State, new: State) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class Langevin:
    """x' = x + step^2/2 S S^T grad log p(x) + step S z: one step of Langevin's equation, mended by the ratio.

    In y = S^-1 x, log q(x' | x) = -|y' - y - step^2/2 S^T grad log p(x)|^2 / (2 step^2) and a constant.
    """

    step: Tensor
    metric: Metric = UNIT
    sloped = True
    aim = 0.574
    """Roberts and Rosenthal 1998, Journal of the Royal Statistical Society B 60."""

    def propose(self, state: State, noise: Noise) -> Tensor:
        step = per_item(self.step, state.x.flatten(1))
        z = noise.normal("proposal", state.x.shape[1:]).flatten(1)
        move = step**2 / 2 * self.metric.pull(state.slope) + step * z
        return state.x + self.metric.push(move).reshape(state.x.shape)

    def log_ratio(self, state: State, new: State) -> Tensor:
        apart = self.metric.back((new.x - state.x).flatten(1))
        step = per_item(self.step, apart)
        there = apart - step**2 / 2 * self.metric.pull(state.slope)
        back = -apart - step**2 / 2 * self.metric.pull(new.slope)
        return ((there.square() - back.square()) / (2 * step**2)).sum(1)


class Drawn(Source, Density, Protocol):
    """Something to draw from whose density is known."""


@dataclass(frozen=True, eq=False)
class Independence:
    """x' ~ `source`, wherever the chain is: log q(x | x') - log q(x' | x) = log q(x) - log q(x')."""

    source: Drawn
    sloped = False

    def propose(self, state: State, noise: Noise) -> Tensor:
        x = self.source.sample(noise.n, rng=noise.rng.child("independence", noise.k))
        return x.to(state.x).reshape(state.x.shape)

    def log_ratio(self, state: State, new: State) -> Tensor:
        return (self.source.log_prob(state.x) - self.source.log_prob(new.x)).to(state.log_prob)


def _stepping(proposal: Proposal) -> RandomWalk | Langevin:
    if not hasattr(proposal, "step"):
        raise BadInput(f"{type(proposal).__name__} proposals have no step to tune")
    return proposal  # type: ignore[return-value]
