"""The exact partition function of the periodic square Ising lattice of any size, and with it the energy.

Z = (2 sinh 2b)^(L^2 / 2) / 2 [prod_r 2 cosh(L g_(2r+1) / 2) + prod_r 2 sinh(L g_(2r+1) / 2)
+ prod_r 2 cosh(L g_(2r) / 2) + prod_r 2 sinh(L g_(2r) / 2)], r = 0, ..., L - 1, where
cosh g_k = cosh 2b coth 2b - cos(pi k / L) with g_k > 0, except g_0 = 2b + log tanh b, whose sign matters
(Kaufman 1949, 'Crystal statistics II', Phys. Rev. 76, 1232). Energies follow by differentiating log Z by b.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.errors import BadInput


def log_partition(length: int, beta: float) -> float:
    """log Z of `length` x `length` periodic spins at inverse temperature `beta` > 0. BadInput for another beta."""
    if not 0 < beta < math.inf:
        raise BadInput(f"Kaufman's formula has beta = {beta}; give a positive number")
    return float(_log_partition(length, torch.tensor(beta, dtype=torch.float64)))


def energy(length: int, beta: float) -> tuple[float, float]:
    """Mean and deviation of the energy per spin at `beta` > 0."""
    b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(_log_partition(length, b), b, create_graph=True)
    (bend,) = torch.autograd.grad(slope, b)
    return -float(slope.detach()) / length**2, math.sqrt(float(bend)) / length**2


def _log_partition(length: int, beta: Tensor) -> Tensor:
    k = torch.arange(1, 2 * length, dtype=torch.float64)
    cosh = torch.cosh(2 * beta) / torch.tanh(2 * beta) - torch.cos(math.pi * k / length)
    half = length / 2 * torch.acosh(cosh)
    odd, even = half[::2], half[1::2]
    # This one is no arccosh: it is 0 at the critical temperature, and below 0 above it.
    first = length / 2 * (2 * beta + beta.tanh().log())
    # The largest of the four products is taken out of the sum.
    largest = _log_cosh(odd)
    products = torch.exp(_log_sinh(odd) - largest) + 2 * torch.cosh(first) * torch.exp(_log_cosh(even) - largest)
    products = products + 2 * torch.sinh(first) * torch.exp(_log_sinh(even) - largest)
    return length**2 / 2 * torch.log(2 * torch.sinh(2 * beta)) - math.log(2) + largest + torch.log1p(products)


def _log_cosh(x: Tensor) -> Tensor:
    """The log of the product of all 2 cosh(x) for x > 0."""
    return (x + torch.log1p(torch.exp(-2 * x))).sum()


def _log_sinh(x: Tensor) -> Tensor:
    """The log of the product of all 2 sinh(x) for x > 0."""
    return (x + torch.log1p(-torch.exp(-2 * x))).sum()
