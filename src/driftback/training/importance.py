"""Times drawn where the loss varies most, each counted 1 / q times, so that the expected loss and gradient stay.

A training time is t = quantile(u) with u uniform; here u has a density q, constant on each of 64 equal bins, and a loss
counts 1 / q(u). The variance is least for q ~ sqrt(E[loss^2 | u]) (Nichol and Dhariwal 2021, arXiv 2102.09672, section
3.3); the second moments are running means of the losses seen, and a tenth of q is uniform, so that no loss counts
more than ten times. Read as v -> u(v), the quantiles of q, it is a monotone schedule gamma(u(v)) with fixed ends that
is learned for the least variance, which changes no continuous-time loss (Kingma et al. 2021, arXiv 2107.00630,
section 5.1 and appendix I).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

BINS = 64
UNIFORM = 0.1
"""The share of q that is uniform. The paper has .001, whose weights of up to 1,000 need a larger batch."""
FEWEST = 10
"""So many losses of every bin have to be seen before q is anything but uniform, as in the paper."""
MEMORY = 100.0
"""About so many of the last losses of a bin count."""


def _zeros() -> Tensor:
    return torch.zeros(BINS, dtype=torch.float64)


@dataclass
class LossAware:
    """The second `moments` of the losses in each bin, (bins,) float64, and how many were `seen` there."""

    moments: Tensor = field(default_factory=_zeros)
    seen: Tensor = field(default_factory=_zeros)

    @property
    def density(self) -> Tensor:
        """q on each bin, (bins,) float64, with mean 1."""
        roots = self.moments.sqrt()
        if float(self.seen.min()) < FEWEST or not 0 < float(roots.mean()) < float("inf"):
            return torch.ones_like(roots)
        return UNIFORM + (1 - UNIFORM) * roots / roots.mean()

    def draw(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """u of density q and 1 / q(u), both (n,) float64, from uniform `v` (n,) in [0, 1)."""
        q = self.density.to(v.device)
        ends = torch.cat([q.new_zeros(1), q.cumsum(0) / q.sum()])
        k = (torch.searchsorted(ends, v.contiguous(), right=True) - 1).clamp(0, len(q) - 1)
        inside = (v - ends[k]) / (ends[k + 1] - ends[k])
        u = (k + inside.clamp(0, 1)) / len(q)
        return u.clamp(max=1 - 1e-12), 1 / q[k]

    def observe(self, u: Tensor, losses: Tensor) -> None:
        """Take in `losses` (n,), each without its factor 1 / q, at `u` (n,)."""
        k = (u.cpu() * len(self.seen)).long().clamp(0, len(self.seen) - 1)
        square = losses.detach().double().cpu() ** 2
        count = torch.zeros_like(self.seen).index_add_(0, k, torch.ones_like(square))
        total = torch.zeros_like(self.moments).index_add_(0, k, square)
        kept = self.seen.clamp(max=MEMORY)
        known = (kept + count).clamp(min=1)
        self.moments = torch.where(count > 0, (kept * self.moments + total) / known, self.moments)
        self.seen = self.seen + count

    def tensors(self) -> dict[str, Tensor]:
        """All that a resume needs."""
        return {"moments": self.moments, "seen": self.seen}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to what `tensors` gave."""
        self.moments, self.seen = tensors["moments"], tensors["seen"]
