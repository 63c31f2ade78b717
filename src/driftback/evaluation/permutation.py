"""Shuffle the labels 'sample' and 'real', and see what the same statistic says: the floor, the p-value, the interval.

If both sets come from one law, every shuffle of the pooled items is as likely as the one that was observed. Hence
p = (1 + #{shuffled >= observed}) / (1 + B), which is never 0 (Phipson and Smyth 2010, arXiv 1603.05766, section 3), and
the band from the k-th smallest to the k-th largest of B values, which holds a further one with probability
1 - 2k / (B + 1) exactly. The *floor* is that band with real items in both sets, of the same sizes. The interval is
value +- t SE with the delete-a-group jackknife (Kott 2001), which never repeats an item, so that nearest neighbours and
distances between distinct items stay what they are; a bootstrap would put copies in both. It holds the statistic's mean
in 89 to 99 of 100 cases (measured at 60 to 300 items; the most at the floor, where it is too wide).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from driftback.evaluation.metric import Metric, place
from driftback.evaluation.points import Points, some
from driftback.randomness import Rng, as_rng

PERMUTATIONS = 199
GROUPS = 20
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Splits:
    """Ways to split N pooled items into two sets, one way per column: 0 as observed, then shuffles, then deletions."""

    first: Values
    """(N, C) of 0 and 1: the item counts to the first set."""
    second: Values
    """(N, C) of 0 and 1: the item counts to the second set."""
    shuffles: int
    """How many columns after the first are shuffles; the rest each leave out a group of both sets."""

    def signed(self) -> Values:
        """(N, C): +1/n for the first set and -1/m for the second, so that every column sums to 0."""
        return self.first / self.first.sum(0) - self.second / self.second.sum(0)


Statistic = Callable[[Points, Splits], Values]
"""From pooled points (N, d) and splits with C columns to values (C,), or (C, quantities)."""


@dataclass(frozen=True)
class Comparison:
    """The statistic of two sets with its jackknife interval, its floor and the p-value of its upper tail."""

    value: float
    interval: tuple[float, float]
    floor: tuple[float, float]
    p: float

    def metric(self, name: str, n: int, verdict: str, *, least: float = -math.inf, most: float = math.inf) -> Metric:
        """With a `verdict` of its own; the interval is cut at `least` and `most`, which the statistic cannot pass."""
        low, high = (min(max(end, least), most) for end in self.interval)
        return Metric(name, self.value, low, high, *self.floor, n, verdict)

    def distance(self, name: str, n: int, *, least: float = -math.inf) -> Metric:
        """As a distance, of which less is better."""
        return self.metric(name, n, f"{place(self.value, self.floor)}, permutation p = {self.p:.3g}", least=least)


@dataclass(frozen=True)
class Measured:
    """What a statistic says, each (..., quantities) or (...)."""

    observed: Values
    shuffled: Values
    deleted: Values
    null: Values
    """Of splits of real items, or of the same shuffles where real items are too few."""

    def comparison(self, quantity: int | None = None) -> Comparison:
        """Of the only quantity, or of the one numbered `quantity`."""
        pick = (...,) if quantity is None else (..., quantity)
        value, shuffled = float(self.observed[pick]), self.shuffled[pick]
        return Comparison(value, jackknife(value, self.deleted[pick]), band(self.null[pick]), p_value(value, shuffled))


def splits(n: int, m: int, generator: np.random.Generator, *, shuffles: int, groups: int = 0) -> Splits:
    """The observed split of n + m pooled items, `shuffles` random ones, and one without each of `groups` groups."""
    observed = (np.arange(n + m) < n).astype(np.float64)
    shuffled = generator.permuted(np.tile(observed, (shuffles, 1)), axis=1)
    # Groups go round within each set, so that each deletion takes the same share of both.
    group = np.concatenate([np.arange(n), np.arange(m)]) % max(groups, 1)
    kept = (group != np.arange(groups)[:, None]).astype(np.float64)
    together = np.concatenate([np.ones((1 + shuffles, n + m)), kept])
    first = np.concatenate([observed[None], shuffled, kept * observed])
    return Splits(np.ascontiguousarray(first.T), np.ascontiguousarray((together - first).T), shuffles)


def p_value(observed: float, shuffled: Values) -> float:
    """The share of values at least as large as the observed one, the observed one counted in."""
    return float((1 + np.count_nonzero(shuffled >= observed)) / (1 + len(shuffled)))


def band(values: Values) -> tuple[float, float]:
    """The narrowest pair of equal-tailed order statistics that holds a further value with probability >= 95 %.

    At least 39 values, of which the smallest and the largest are then the band.
    """
    k = max(1, int(0.025 * (len(values) + 1) + 1e-9))
    ordered = np.sort(values)
    return float(ordered[k - 1]), float(ordered[-k])


def jackknife(value: float, deleted: Values) -> tuple[float, float]:
    """A 95 % interval from the values without each of g groups: value +- t SE, SE^2 = (g-1)/g sum (v_j - mean)^2."""
    g = len(deleted)
    error = np.sqrt((g - 1) * np.var(deleted))
    reach = float(student.ppf(0.975, g - 1) * error)
    return value - reach, value + reach


def measure(
    statistic: Statistic,
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = None,
) -> Measured:
    """`statistic` between `samples` (n, d) and `real` (m, d), n, m >= 2, and what it says of shuffles and deletions.

    The floor is made of real items alone, `other` (at least n rows, disjoint from `real`) against `real`. Without
    enough of them, the pooled samples and real items are shuffled instead: the same band for a perfect model, another
    for a bad one. The first holds 93 % of perfect models at 100 items and 95 % from some hundreds on (measured), the
    second exactly 95 %.
    """
    rng = as_rng(rng)
    n, m = len(samples), len(real)
    order = rng.child("order").generator()
    # Files are often sorted, and the groups of the jackknife must be random.
    x, y = some(samples, n, order), some(real, m, order)
    ways = splits(n, m, rng.child("shuffles").generator(), shuffles=shuffles, groups=min(GROUPS, n, m))
    values = statistic(np.concatenate([x, y]), ways)
    shuffled = null = values[1 : 1 + shuffles]
    if other is not None and len(other) >= n:
        ways = splits(n, m, rng.child("floor").generator(), shuffles=shuffles)
        null = statistic(np.concatenate([some(other, n, order), y]), ways)[1:]
    return Measured(values[0], shuffled, values[1 + shuffles :], null)


def compare(
    statistic: Statistic,
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = None,
) -> Comparison:
    """`measure`, and its numbers put together: for a statistic that gives one value per split."""
    return measure(statistic, samples, real, other, shuffles=shuffles, rng=rng).comparison()
