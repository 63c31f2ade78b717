"""The Ising model: spins -1 and 1 on a periodic square, each at ease with its neighbours: made for Gibbs sampling.

log p(x) = beta sum_<ij> x_i x_j over the 2 L^2 bonds. With h_i the sum of i's four neighbours, flipping spin i changes
it by -2 beta x_i h_i, and P(x_i = 1 | rest) = 1 / (1 + e^(-2 beta h_i)) (Geman and Geman 1984). Up to L = 4 all states
are listed; for any L log Z and the energy are Kaufman's (`kaufman.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.energies.kaufman import energy, log_partition
from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng

CRITICAL = math.log(1 + math.sqrt(2)) / 2
"""The inverse temperature 0.4407 at which the infinite lattice begins to order (Onsager 1944)."""
NAMES = ("energy per spin", "magnetisation", "|magnetisation|")


@dataclass(frozen=True)
class Ising:
    """`length` x `length` spins at inverse temperature `beta`; unnormalised, of any dtype. BadInput below length 3."""

    length: int
    beta: float

    def __post_init__(self) -> None:
        if self.length < 3:
            raise BadInput(f"an Ising lattice has length {self.length}; below 3 neighbours coincide, give 3 or more")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(length, length)."""
        return (self.length, self.length)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-weight at `x` (n, L, L), as (n,) of its dtype; a polynomial, so it has a gradient."""
        return self.beta * _bonds(x)

    def flip_differences(self, x: Tensor) -> Tensor:
        """The change of `log_prob` at `x` (n, L, L) of -1 and 1 if a spin were flipped, for each spin, as (n, L, L)."""
        neighbours = x.roll(1, 1) + x.roll(-1, 1) + x.roll(1, 2) + x.roll(-1, 2)
        return -2 * self.beta * x * neighbours

    def conditional(self, x: Tensor, i: int, *, rng: Rng | int | None = None) -> Tensor:
        """Spin `i` of the flattened lattice drawn given the rest of `x` (n, L, L), as (n,) of its dtype."""
        row, column = divmod(i, self.length)
        rows = [(row + step) % self.length for step in (-1, 1)]
        columns = [(column + step) % self.length for step in (-1, 1)]
        neighbours = x[:, rows, column].sum(1) + x[:, row, columns].sum(1)
        up = torch.sigmoid(2 * self.beta * neighbours.double())
        u = as_rng(rng).uniform((len(x),), dtype=torch.float64, device=x.device)
        return torch.where(u < up, 1.0, -1.0).to(x.dtype)


@dataclass(frozen=True)
class SmallIsing(Ising):
    """An Ising lattice of length 3 or 4, all of whose 2^(L^2) states are listed: its draws are exact, float64."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length > 4:
            raise BadInput(f"an Ising lattice of length {self.length} has too many states to list; take Ising for it")

    @cached_property
    def states(self) -> Tensor:
        """All states, (2^(L^2), L, L) float64."""
        spins = self.length**2
        bits = (torch.arange(2**spins)[:, None] >> torch.arange(spins)) & 1
        return (2.0 * bits.double() - 1).view(-1, *self.event_shape)

    @cached_property
    def probabilities(self) -> Tensor:
        """The probability of each state, (2^(L^2),) float64."""
        return self.log_prob(self.states).softmax(0)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` lattices, (n, L, L)."""
        u = as_rng(rng).uniform((n,), dtype=torch.float64)
        return self.states[torch.searchsorted(self.probabilities.cumsum(0)[:-1].contiguous(), u, right=True)]


def quantities(x: Tensor) -> Tensor:
    """Energy per spin -sum_<ij> x_i x_j / L^2, magnetisation, and its absolute value, at `x` (n, L, L), as (n, 3)."""
    magnetisation = x.flatten(1).mean(1)
    per_spin = -_bonds(x) / (x.shape[1] * x.shape[2])
    return torch.stack([per_spin, magnetisation, magnetisation.abs()], 1)


def mode(x: Tensor) -> Tensor:
    """1 where most spins of `x` (n, L, L) are up, 0 where they are down, and a tie goes by the first spin."""
    total = x.flatten(1).sum(1)
    return torch.where(total == 0, x[:, 0, 0], total).gt(0).long()


def _bonds(x: Tensor) -> Tensor:
    return (x * (x.roll(1, 1) + x.roll(1, 2))).flatten(1).sum(1)


def small_ising(length: int, beta: float) -> Problem:
    """The lattice of length 3 or 4, about which all is known by listing its states."""
    law = SmallIsing(length, beta)
    values, p = quantities(law.states), law.probabilities
    mean = p @ values
    deviation = (p @ (values - mean) ** 2).sqrt()
    log_z = float(law.log_prob(law.states).logsumexp(0))
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    truth = Truth(log_z, mean, deviation, mode, halves, "all states listed")
    source = "Onsager 1944 for the critical temperature"
    return Problem(law, f"ising-{length}", truth, NAMES, quantities, (-1.0, 1.0), source)


def ising(length: int, beta: float) -> Problem:
    """The lattice of any length >= 3: log Z and energy by Kaufman's formula, the magnetisation's mean by symmetry.

    NaN stands for what is not known: the deviation of the magnetisation, and all of its absolute value.
    """
    mean_energy, deviation_energy = energy(length, beta)
    mean = torch.tensor([mean_energy, 0.0, math.nan], dtype=torch.float64)
    deviation = torch.tensor([deviation_energy, math.nan, math.nan], dtype=torch.float64)
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    truth = Truth(log_partition(length, beta), mean, deviation, mode, halves, "Kaufman 1949, and symmetry")
    source = "Kaufman 1949, Phys. Rev. 76, 1232"
    return Problem(Ising(length, beta), "ising", truth, NAMES, quantities, (-1.0, 1.0), source)
