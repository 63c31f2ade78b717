"""The shape of a target as a kernel's steps see it: x = S y, in which the target should look round.

A mass matrix M of Hamiltonian Monte Carlo is the same thing: momenta z of unit mass in y move x by S z and are pushed
by S^T grad log p, with M = (S S^T)^-1 (Neal 2011, 'MCMC using Hamiltonian dynamics', section 4.1, arXiv 1206.1901). The
best S S^T is the target's covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Metric(Protocol):
    """S, on flat events: all tensors are (n, d)."""

    def push(self, z: Tensor) -> Tensor:
        """S z, how x moves when y moves by `z`."""
        ...

    def pull(self, gradient: Tensor) -> Tensor:
        """S^T g, the gradient in y."""
        ...

    def back(self, x: Tensor) -> Tensor:
        """S^-1 x."""
        ...

    def rows(self, rows: Tensor) -> Metric:
        """That of the chains `rows` (m,)."""
        ...


@dataclass(frozen=True, eq=False)
class Diagonal:
    """S = diag(scale): `scale` is (), (d,) or, for each chain its own, (n, d)."""

    scale: Tensor

    def push(self, z: Tensor) -> Tensor:
        return self.scale * z

    def pull(self, gradient: Tensor) -> Tensor:
        return self.scale * gradient

    def back(self, x: Tensor) -> Tensor:
        return x / self.scale

    def rows(self, rows: Tensor) -> Diagonal:
        return Diagonal(self.scale[rows]) if self.scale.ndim == 2 else self


@dataclass(frozen=True, eq=False)
class Dense:
    """S = `factor`, a lower triangle: (d, d) or, for each chain its own, (n, d, d)."""

    factor: Tensor

    def push(self, z: Tensor) -> Tensor:
        return _times(self.factor, z)

    def pull(self, gradient: Tensor) -> Tensor:
        return _times(self.factor.mT, gradient)

    def back(self, x: Tensor) -> Tensor:
        if self.factor.ndim == 2:
            return torch.linalg.solve_triangular(self.factor, x.T, upper=False).T
        return torch.linalg.solve_triangular(self.factor, x[..., None], upper=False)[..., 0]

    def rows(self, rows: Tensor) -> Dense:
        return Dense(self.factor[rows]) if self.factor.ndim == 3 else self


def _times(matrix: Tensor, rows: Tensor) -> Tensor:
    return rows @ matrix.mT if matrix.ndim == 2 else (matrix @ rows[..., None])[..., 0]


UNIT = Diagonal(torch.ones((), dtype=torch.float64))
"""S = I."""
