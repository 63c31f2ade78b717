"""Particles in pairs swap some of their coordinates: what is independent in the target need not be found by each alone.

(x, y) -> (x', y'), x' = y in a random set of coordinates and x elsewhere, y' the other way round: an involution of
pairs that leaves p(x) p(y) invariant when it is accepted with probability min(1, p(x') p(y') / (p(x) p(y))) (the
crossover of Liang and Wong 2001, Journal of the American Statistical Association 96(454)). It keeps the law of
particles whose weights are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.state import State


def exchange(energy: Energy, state: State, rng: Rng, islands: int = 1) -> tuple[State, Tensor]:
    """One swap in each pair of particles of the same island, of which there are n / `islands` in a row; and (n,) bool,
    which of them were swapped. One evaluation per particle.
    """
    n, d, device = len(state.x), state.x[0].numel(), state.x.device

    def drawn(name: str, *shape: int) -> Tensor:
        return rng.child(name).uniform(shape, dtype=torch.float64, device=device)

    island = torch.arange(n, device=device) // (n // islands)
    order = (island + drawn("order", n)).reshape(islands, -1).argsort(1) + island.reshape(islands, -1) * (n // islands)
    half = order.shape[1] // 2
    left, right = order[:, :half].flatten(), order[:, half : 2 * half].flatten()
    pairs = len(left)
    taken = drawn("coordinates", pairs, d) < drawn("share", pairs, 1)
    x, y = state.x[left].flatten(1), state.x[right].flatten(1)
    swapped = torch.cat([torch.where(taken, y, x), torch.where(taken, x, y)])
    both = torch.cat([left, right])
    old, sloped = state.rows(both), state.gradient is not None
    new = energy.state(swapped.reshape(-1, *state.x.shape[1:]), sloped=sloped)
    rise = (new.log_prob - old.log_prob).reshape(2, pairs).sum(0)
    accepted = (drawn("accept", pairs).log() < rise).repeat(2)
    mixed, back = new.where(accepted, old), torch.arange(n, device=device)
    # A particle without a partner stays: it is looked up among those that did not move.
    back[both] = n + torch.arange(len(both), device=device)
    out = torch.zeros(n, dtype=torch.bool, device=device)
    out[both] = accepted
    return _joined(state, mixed).rows(back), out


def _joined(one: State, other: State) -> State:
    gradient = None
    if one.gradient is not None and other.gradient is not None:
        gradient = torch.cat([one.gradient, other.gradient])
    return State(torch.cat([one.x, other.x]), torch.cat([one.log_prob, other.log_prob]), gradient)
