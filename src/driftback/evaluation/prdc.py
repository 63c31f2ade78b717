"""Precision, recall, density, coverage: do samples look real, and is everything real among the samples?

A ball around each item reaches to its k-th nearest neighbour in its own set. Precision is the share of samples in some
real ball, recall the share of real items in some sample's ball (Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1-2);
density counts how many real balls hold a sample, over k, and coverage is the share of real balls that hold one (Naeem
et al. 2020, arXiv 2002.09797, section 3). None of the four is 1 for a perfect model: compare with the floor.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from driftback.evaluation.metric import ABOVE, WORSE, Metric, place
from driftback.evaluation.permutation import Splits, Values, measure
from driftback.evaluation.points import Points
from driftback.evaluation.shares import wilson
from driftback.randomness import Rng

NAMES = ("precision", "recall", "density", "coverage")
NEAREST = 5
SHUFFLES = 39
"""The fewest of which the smallest and the largest value are a 95 % band."""


def prdc_values(distances: Values, x: NDArray[np.intp], y: NDArray[np.intp], nearest: int = NEAREST) -> Values:
    """The four values for the rows `x` of samples and `y` of real items in a matrix of all `distances` (N, N)."""
    k = min(nearest, len(x) - 1, len(y) - 1)
    # The item itself is at distance 0, so its k-th nearest neighbour stands at place k.
    reach_x = np.partition(distances[np.ix_(x, x)], k, axis=1)[:, k]
    reach_y = np.partition(distances[np.ix_(y, y)], k, axis=1)[:, k]
    across = distances[np.ix_(x, y)]
    in_real, in_sample = across < reach_y, across < reach_x[:, None]
    return np.array([in_real.any(1).mean(), in_sample.any(0).mean(), in_real.sum(1).mean() / k, in_real.any(0).mean()])


def prdc_statistic(z: Points, ways: Splits) -> Values:
    """(C, 4): the four values for every split."""
    points = torch.from_numpy(z)
    distances = torch.cdist(points, points).fill_diagonal_(0.0).numpy()
    pairs = zip(ways.first.T, ways.second.T, strict=True)
    return np.stack([prdc_values(distances, np.flatnonzero(a), np.flatnonzero(b)) for a, b in pairs])


def prdc(
    samples: Points, real: Points, other: Points | None = None, *, shuffles: int = SHUFFLES, rng: Rng | int | None = 0
) -> list[Metric]:
    """Precision, recall, density and coverage of `samples` (n, d) against `real` (m, d), both 20 to about 2,000.

    Shares in [0, 1], density >= 0; more is better, up to the floor. `other` real items make the floor.
    """
    found = measure(prdc_statistic, samples, real, other, shuffles=shuffles, rng=rng)
    metrics = []
    for i, (name, of) in enumerate(zip(NAMES, (len(samples), len(real), None, len(real)), strict=True)):
        one = found.comparison(i)
        if of is not None:
            # A share of 1 (or 0) stays so when a group is left out; Wilson's interval knows that n items are not all.
            low, high = wilson(round(one.value * of), of)
            one = replace(one, interval=(min(low, one.interval[0]), max(high, one.interval[1])))
        verdict = place(one.value, one.floor, WORSE, ABOVE)
        metrics.append(one.metric(name, len(samples), verdict, least=0.0, most=math.inf if of is None else 1.0))
    return metrics
