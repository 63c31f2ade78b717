"""What weighted particles show of themselves: a metric for the kernel that moves them.

S S^T is their covariance, or the inverse of E[g g^T], g their gradients, which is Fisher's information of the target
under shifts and the best metric for small Langevin steps (Titsias 2023, arXiv 2305.14442). Where there are
several modes the second is the width of one of them; the first is how far they lie apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.metric import Dense, Diagonal, Metric
from driftback.samplers.markov.state import State

SMALL = 1e-9
"""So much of the largest variance is added to each one: none is 0."""
Shaping = Callable[[State, Tensor], Metric]
"""From the state of n particles and their shares (n,) of the weight to a metric."""


@dataclass(frozen=True)
class Spread:
    """S S^T = the covariance of the particles, `dense` or its diagonal."""

    dense: bool = False

    def __call__(self, state: State, shares: Tensor) -> Metric:
        x = state.x.flatten(1).double()
        moment = _moment(x - shares @ x, shares, dense=self.dense)
        if not self.dense:
            return Diagonal(_bounded(moment).sqrt().to(state.x))
        return Dense(torch.linalg.cholesky(moment).to(state.x))


@dataclass(frozen=True)
class Fisher:
    """S S^T = (E[g g^T])^-1 of the particles' gradients, `dense` or with the diagonal alone."""

    dense: bool = False

    def __call__(self, state: State, shares: Tensor) -> Metric:
        if state.gradient is None:
            raise BadInput("this kernel's states have no gradients to be shaped by; take Spread()")
        moment = _moment(state.gradient.flatten(1).double(), shares, dense=self.dense)
        if not self.dense:
            return Diagonal(_bounded(moment).rsqrt().to(state.x))
        return Dense(torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment))).to(state.x))


def _bounded(squares: Tensor) -> Tensor:
    return squares + SMALL * squares.max().clamp(min=SMALL)


def _moment(rows: Tensor, shares: Tensor, *, dense: bool) -> Tensor:
    """The weighted mean of r r^T, (d, d), drawn towards its diagonal where few particles count; or that diagonal."""
    squares = shares @ rows.square()
    if not dense:
        return squares
    trust = (size := 1 / float(shares.square().sum())) / (size + rows.shape[1])
    return trust * (rows * shares[:, None]).T @ rows + torch.diag((1 - trust) * squares + SMALL * squares.max())
