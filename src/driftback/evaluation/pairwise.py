"""Energy distance and MMD: are two items of one set more alike than two items of different sets?

Both are one statistic, E k(x, x') + E k(y, y') - 2 E k(x, y), with two kernels (Sejdinovic et al. 2013,
arXiv 1207.6076):

    energy^2 k = -|x - y|, all pairs: Szekely and Rizzo 2013; its root is scipy's one-dimensional `energy_distance`
    MMD^2    k = mean over lengths l of l^2 / (l^2 + |x - y|^2), no item paired with itself: Gretton et al. 2012, eq. 3;
             unbiased, so it may be below 0

Every distance is computed once and serves all shuffles, as quadratic forms of their indicator vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from driftback.evaluation.metric import Metric
from driftback.evaluation.permutation import PERMUTATIONS, Splits, Values, compare
from driftback.evaluation.points import Points, some
from driftback.randomness import Rng, as_rng

SCALES = (0.1, 0.3, 1.0)
"""The MMD's length scales, as multiples of the median distance between real items."""
BLOCK = 1024
"""Items per side of a block of distances, which then stays in the cache."""

Kernel = Callable[[Tensor], Tensor]
"""From distances (or products) to likeness, entry by entry."""


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|x - y| for rows of `a` (n, d) and `b` (m, d); of itself an item is 0 away, which rounding would not say."""
    apart = torch.cdist(a, b)
    return apart.fill_diagonal_(0.0) if a is b else apart


def minus_distance(distance: Tensor) -> Tensor:
    """The energy distance's kernel."""
    return -distance


@dataclass(frozen=True)
class InverseMultiquadric:
    """The mean over `lengths` l of l^2 / (l^2 + distance^2): sees near and far at once, 1 at distance 0."""

    lengths: tuple[float, ...]

    def __call__(self, distance: Tensor) -> Tensor:
        square = distance.square()
        total = torch.zeros_like(square)
        for length in self.lengths:
            total += (square + length**2).reciprocal_().mul_(length**2 / len(self.lengths))
        return total


@dataclass(frozen=True)
class Pairwise:
    """The statistic for a kernel; `unbiased` leaves out the pairs of an item with itself.

    The kernel looks at what `between` says of two blocks of items, which is the same object twice on the diagonal.
    """

    kernel: Kernel
    unbiased: bool
    between: Callable[[Tensor, Tensor], Tensor] = distances

    def __call__(self, z: Points, ways: Splits) -> Values:
        points, first = torch.from_numpy(z), torch.from_numpy(ways.first)
        # A shuffle uses all items, so one column of sums serves them all; each deletion needs its own.
        together = torch.from_numpy(np.ascontiguousarray((ways.first + ways.second)[:, ways.shuffles :]))
        within = torch.zeros(first.shape[1], dtype=torch.float64)
        sums = torch.zeros_like(together)
        for i in range(0, len(z), BLOCK):
            a = slice(i, i + BLOCK)
            rows = points[a]
            for j in range(i, len(z), BLOCK):
                b = slice(j, j + BLOCK)
                likeness = self.kernel(self.between(rows, rows if i == j else points[b]))
                if i == j and self.unbiased:
                    likeness.fill_diagonal_(0.0)
                # The matrix is symmetric: a block above the diagonal stands for its mirror image too.
                within += (1 if i == j else 2) * (first[a] * (likeness @ first[b])).sum(0)
                sums[a] += likeness @ together[b]
                if i != j:
                    sums[b] += likeness.T @ together[a]
        which = np.maximum(np.arange(first.shape[1]) - ways.shuffles, 0)
        xx = within.numpy()
        x_all = (first.T @ sums).numpy()[np.arange(len(which)), which]
        all_all = (together * sums).sum(0).numpy()[which]
        xy, yy = x_all - xx, all_all - 2 * x_all + xx
        n, m = ways.first.sum(0), ways.second.sum(0)
        if not self.unbiased:
            return xx / n**2 + yy / m**2 - 2 * xy / (n * m)
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def energy_statistic(z: Points, ways: Splits) -> Values:
    """The energy distance for every split."""
    return np.sqrt(np.maximum(Pairwise(minus_distance, unbiased=False)(z, ways), 0.0))


def median_distance(real: Points, generator: np.random.Generator) -> float:
    """The median distance between distinct items, from at most 500 of them; 1 if all are alike."""
    distances = pdist(some(real, 500, generator))
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def energy_distance(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> Metric:
    """sqrt(2 E|x - y| - E|x - x'| - E|y - y'|) between `samples` (n, d) and `real` (m, d), >= 0.

    In square roots of the data's unit; the root because its error is nearly the same for near and far sets. `other`
    real items make the floor; the interval, the floor and the p-value are those of `permutation.compare`.
    """
    found = compare(energy_statistic, samples, real, other, shuffles=shuffles, rng=rng)
    return found.distance("energy distance", len(samples), least=0.0)


def mmd(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> Metric:
    """The unbiased MMD^2 between `samples` (n, d) and `real` (m, d): no unit, at most 2, below 0 by chance when alike.

    `other` real items make the floor; the interval, the floor and the p-value are those of `permutation.compare`.
    """
    rng = as_rng(rng)
    # The scales come from real items alone, so that two models are measured with the same ruler.
    median = median_distance(real, rng.child("median").generator())
    kernel = InverseMultiquadric(tuple(scale * median for scale in SCALES))
    found = compare(Pairwise(kernel, unbiased=True), samples, real, other, shuffles=shuffles, rng=rng)
    return found.distance("MMD squared", len(samples))
