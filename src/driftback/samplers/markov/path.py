"""The geometric path between two densities, with a place on it for each chain: (1 - beta_i) log p_0 + beta_i log p.

Chain i's beta belongs to its row, so all rows have to be asked at once; a kernel that moves some of them is told so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.shapes import per_item


@dataclass(frozen=True, eq=False)
class Path:
    """From `reference` to `target` at `betas` (n,), one for each row, above 0."""

    target: Energy
    reference: Energy
    betas: Tensor

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return self.target.event_shape

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density on the path at `x` (n, *event), as (n,). BadInput where n is not that of the betas."""
        betas = self._betas(x)
        target, reference = self.target.target.log_prob(x), self.reference.target.log_prob(x)
        # What has no share is not asked: 0 times minus infinity would be NaN.
        return betas * target + torch.where(betas < 1, (1 - betas) * reference, 0.0)

    def energy(self) -> Energy:
        """The path for kernels, by both gradients where both are known."""
        if self.target.gradient is None or self.reference.gradient is None:
            return Energy(self)
        return Energy(self, self._gradient)

    def _gradient(self, x: Tensor) -> Tensor:
        betas = self._betas(x)
        assert self.target.gradient is not None
        assert self.reference.gradient is not None
        return per_item(betas, x) * self.target.gradient(x) + per_item(1 - betas, x) * self.reference.gradient(x)

    def _betas(self, x: Tensor) -> Tensor:
        if len(x) != len(self.betas):
            raise BadInput(
                "a tempered kernel has to move all chains at once, and this one moves some; take one that does, like "
                "Hamiltonian, Metropolis or Flips"
            )
        return self.betas.to(x.device)
