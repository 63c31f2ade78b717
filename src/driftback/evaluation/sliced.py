"""Sliced Wasserstein-1: how far mass must be carried along a line, on average over random lines.

SW1 = mean_v int |F_v(u) - G_v(u)| du, with F_v and G_v the distribution functions of <v, x>: exact in one dimension for
any two numbers of items (Rabin et al. 2011; Bonneel et al. 2015, section 3). In the units of the data.
"""

from __future__ import annotations

import numpy as np

from driftback.evaluation.metric import Metric
from driftback.evaluation.permutation import PERMUTATIONS, Splits, Statistic, Values, compare
from driftback.evaluation.points import Points
from driftback.randomness import Rng, as_rng

DIRECTIONS = 64


def directions(d: int, count: int, generator: np.random.Generator) -> Points:
    """`count` random unit vectors in d dimensions, (count, d); on the line there is only one."""
    if d == 1:
        return np.ones((1, 1))
    v = generator.standard_normal((count, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def sliced(lines: Points) -> Statistic:
    """The statistic along `lines` (count, d)."""

    def statistic(z: Points, ways: Splits) -> Values:
        weights = ways.signed()
        total = np.zeros(weights.shape[1])
        for u in (z @ lines.T).T:
            order = np.argsort(u)
            # Between two neighbours on the line, F - G is the sum of all signed weights to the left.
            gap = np.cumsum(weights[order[:-1]], axis=0)
            total += np.diff(u[order]) @ np.abs(gap, out=gap)
        return total / len(lines)

    return statistic


def sliced_wasserstein(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    lines: int = DIRECTIONS,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> Metric:
    """SW1 between `samples` (n, d) and `real` (m, d), in data units, >= 0; `other` real items make the floor.

    The interval, the floor and the p-value are those of `permutation.compare`, all along the same random lines.
    """
    rng = as_rng(rng)
    along = directions(samples.shape[1], lines, rng.child("lines").generator())
    found = compare(sliced(along), samples, real, other, shuffles=shuffles, rng=rng)
    return found.distance("sliced Wasserstein-1", len(samples), least=0.0)
