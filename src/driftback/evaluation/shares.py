"""Shares of items: an interval for one share, and the band in which another share of the same law would fall.

The interval is Wilson's (1927); the band is the posterior predictive of a Beta(1/2, 1/2) prior (Jeffreys), so that
the uncertainty of the reference share is in it.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import betabinom, binomtest


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for the share of which `hits` of `n` >= 1 were seen."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def predicted(hits: int, n: int, again: int) -> tuple[float, float]:
    """The 95 % band of the share in `again` >= 1 further items, after `hits` of `n` >= 1."""
    below = np.cumsum(betabinom.pmf(np.arange(again + 1), again, hits + 0.5, n - hits + 0.5))
    low, high = np.searchsorted(below, [0.025, 0.975])
    return float(low) / again, float(high) / again
