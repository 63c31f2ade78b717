"""Systematic resampling: particles are copied in proportion to their weights, with one random number for all.

Particle i gets the points (U + j) / n, j = 0 .. n - 1, that fall between W_1 + .. + W_(i-1) and W_1 + .. + W_i:
floor or ceiling of n W_i of them, n W_i on average (Kitagawa 1996, Journal of Computational and Graphical Statistics
5(1); Douc, Cappé and Moulines 2005, arXiv cs/0507025).
"""

from __future__ import annotations

import torch
from torch import Tensor

from driftback.randomness import Rng, as_rng


def systematic(shares: Tensor, n: int, *, rng: Rng | int | None = None) -> Tensor:
    """Which particle each of `n` copies is of, (n,), in order, for `shares` (m,) that sum to 1."""
    luck = as_rng(rng).uniform((1,), dtype=torch.float64, device=shares.device)
    points = (torch.arange(n, dtype=torch.float64, device=shares.device) + luck) / n
    ends = shares.double().cumsum(0)
    # The last end is 1 but for rounding; a point beyond it belongs to the last particle that has any weight.
    last = int(shares.nonzero().max())
    return torch.searchsorted(ends / ends[-1], points, right=True).clamp(max=last)


def rounding(shares: Tensor, n: int) -> float:
    """The variance that the rounding of n `shares` to whole numbers adds to the sum of squared shares: f (1 - f) / n^2.

    f is the fraction of n W_i, and the number of copies is its ceiling with probability f.
    """
    part = (shares.double() * n).frac()
    return float((part * (1 - part)).sum()) / n**2
