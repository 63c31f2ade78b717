"""A law on the line known by its log-density: its integral, its moments, and exact draws through the inverse CDF.

The line is cut into panels with Gauss-Legendre nodes; F at their edges is a table. A draw is F^-1(u) for a uniform u:
the panel is looked up, and Newton's steps solve F(edge) + int_edge^x p = u in it, to rounding (|F(x) - u| < 1e-13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

NODES, PANELS, NEWTON = 8, 1024, 6


@dataclass(frozen=True, eq=False)
class Line:
    """exp(log_density), float64 (m,) to (m,), smooth, and with no mass that matters outside [low, high]."""

    log_density: Callable[[Tensor], Tensor]
    low: float
    high: float

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor, Tensor, float]:
        """Nodes and their probabilities, (panels, nodes) each, F at the edges (panels + 1,), and log Z."""
        node, weight = _legendre()
        width = (self.high - self.low) / PANELS
        x = self.low + width * (torch.arange(PANELS, dtype=torch.float64)[:, None] + node)
        log_mass = self.log_density(x.flatten()).view_as(x) + (width * weight).log()
        log_z = float(log_mass.flatten().logsumexp(0))
        p = (log_mass - log_z).exp()
        return x, p, torch.cat([torch.zeros(1, dtype=torch.float64), p.sum(1).cumsum(0)]), log_z

    @property
    def log_z(self) -> float:
        """The log of the integral of exp(log_density)."""
        return self._table[3]

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """E f(u) for a `function` from (m,) to (m, *out), as (*out)."""
        x, p = self._table[:2]
        return torch.tensordot(p.flatten(), function(x.flatten()), 1)

    def quantile(self, u: Tensor) -> Tensor:
        """The points, float64 of any shape, below which the mass is `u` in [0, 1)."""
        edges, log_z = self._table[2], self.log_z
        u = u.double().contiguous()
        panel = (torch.searchsorted(edges, u, right=True) - 1).clamp(0, PANELS - 1)
        mass = u - edges[panel]
        width = (self.high - self.low) / PANELS
        start = self.low + width * panel
        into = width * (mass / (edges[panel + 1] - edges[panel])).clamp(0, 1)
        for _ in range(NEWTON):
            below = torch.zeros_like(u)
            for node, weight in zip(*_legendre(), strict=True):
                below += weight * self._density(start + node * into, log_z)
            into = (into - (below * into - mass) / self._density(start + into, log_z)).clamp(0, width)
        return start + into

    def _density(self, x: Tensor, log_z: float) -> Tensor:
        return (self.log_density(x.flatten()).view_as(x) - log_z).exp()


def _legendre() -> tuple[Tensor, Tensor]:
    """Gauss and Legendre's nodes and weights on [0, 1]."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return torch.from_numpy((node + 1) / 2), torch.from_numpy(weight / 2)
