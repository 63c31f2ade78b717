"""The area under the ROC curve: AUC = P(x > y) + P(x = y) / 2, how often a score of one set beats one of the other.

For two sets of one law it is Mann and Whitney's U / (n m), with mean 1/2 and variance (n + m + 1) / (12 n m), less for
ties (Mann and Whitney 1947): the floor. For any two laws its error is that of DeLong et al. 1988: the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from driftback.evaluation.points import Points
from driftback.evaluation.shares import wilson

REACH = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Auc:
    """The AUC, its 95 % interval, the 95 % band of two equal laws, and the p-value of the upper tail."""

    value: float
    interval: tuple[float, float]
    floor: tuple[float, float]
    p: float

    def widened(self, factor: float) -> Auc:
        """With interval and floor `factor` >= 1 times as wide, for scores that are not independent; `p` stays."""
        low, high = (self.value + factor * (end - self.value) for end in self.interval)
        floor = 0.5 + factor * (self.floor[0] - 0.5), 0.5 + factor * (self.floor[1] - 0.5)
        return Auc(self.value, (max(0.0, low), min(1.0, high)), floor, self.p)


def auc(x: Points, y: Points) -> Auc:
    """P(x > y) + P(x = y) / 2 of scores `x` (n,) and `y` (m,); n, m >= 2."""
    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    # The share of the other set that each score beats, ties for one half: DeLong's structural components.
    beats = (ranks[:n] - rankdata(x)) / m
    beaten = 1 - (ranks[n:] - rankdata(y)) / n
    value = float(beats.mean())
    error = float(np.sqrt(beats.var(ddof=1) / n + beaten.var(ddof=1) / m))
    ties = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    untied = (n + m + 1) - (ties**3 - ties).sum() / ((n + m) * (n + m - 1))
    null = float(np.sqrt(max(untied, 0.0) / (12 * n * m)))
    p = float(norm.sf((value - 0.5) / null)) if null > 0 else 1.0
    # Two sets that do not overlap have error 0, which finite sets cannot know: Var <= AUC (1 - AUC) / min(n, m).
    k = min(n, m)
    low, high = (value - REACH * error, value + REACH * error) if error > 0 else wilson(round(value * k), k)
    interval = max(0.0, low), min(1.0, high)
    return Auc(value, interval, (0.5 - REACH * null, 0.5 + REACH * null), p)
