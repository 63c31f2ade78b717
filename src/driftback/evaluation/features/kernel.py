"""The kernel distance: the unbiased MMD^2 with the cubic kernel on features, which few items do not bias.

k(x, y) = (x.y / d + 1)^3 compares means, covariances and third moments at once (Binkowski et al. 2018, arXiv
1801.01401, section 4; on Inception's features it is known as KID). The estimate uses all items instead of
subsets of them, and leaves out the pairs of an item with itself, so that its mean is the squared distance of the laws
at any number of items, and 0 between equal ones: single values may be below 0. The kernel hangs on the features' zero
and unit; unless they are given (as for KID), they are those of real items: mean 0, mean square 1 over all features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from driftback.evaluation.metric import Metric
from driftback.evaluation.pairwise import Pairwise
from driftback.evaluation.permutation import PERMUTATIONS, compare
from driftback.evaluation.points import Points
from driftback.randomness import Rng, as_rng

NAME = "kernel distance"
FEWEST = 20
"""Items of a class, in each set, from which on it is judged by itself."""


def mean_product(a: Tensor, b: Tensor) -> Tensor:
    """x.y / d for rows of `a` (n, d) and `b` (m, d)."""
    return a @ b.T / a.shape[1]


def cubic(product: Tensor) -> Tensor:
    """(product + 1)^3."""
    return (product + 1) ** 3


CUBIC = Pairwise(cubic, unbiased=True, between=mean_product)


@dataclass(frozen=True)
class Unit:
    """The features' zero (d,), and their unit, one number for all, so that turning them changes nothing."""

    zero: Points | float = 0.0
    size: float = 1.0

    @classmethod
    def of(cls, real: Points) -> Unit:
        """Of real items (m, d); features that never change keep their own unit."""
        zero = real.mean(0)
        size = float(np.sqrt(np.square(real - zero).mean()))
        return cls(zero, size if size > 0 else 1.0)

    def __call__(self, x: Points) -> Points:
        """(n, d) from (n, d)."""
        return (x - self.zero) / self.size


def kernel_distance(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    of: str,
    unit: Unit | None = None,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> Metric:
    """The unbiased MMD^2 between features `samples` (n, d) and `real` (m, d), n, m >= 2, in no unit.

    `other` real items make the floor, and with it the `unit`, unless that is given; the interval, the floor and the
    p-value are those of `permutation.compare`. `of` says whose features they are.
    """
    unit = unit or Unit.of(real if other is None else other)
    x, y, z = unit(samples), unit(real), None if other is None else unit(other)
    found = compare(CUBIC, x, y, z, shuffles=shuffles, rng=rng)
    return found.distance(f"{NAME} ({of} features)", len(samples))


def by_class(
    samples: Points,
    asked: np.ndarray,
    real: Points,
    truth: np.ndarray,
    *,
    of: str,
    unit: Unit,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> list[Metric]:
    """The kernel distance of each class with 20 items or more in both sets: `samples` that were `asked` for it, (n,),
    against `real` items whose `truth`, (m,), it is. The floor comes from shuffles of both.
    """
    rng, found = as_rng(rng), []
    for k, name in enumerate(np.unique(asked)):
        x, y = samples[asked == name], real[truth == name]
        if min(len(x), len(y)) >= FEWEST:
            one = compare(CUBIC, unit(x), unit(y), shuffles=shuffles, rng=rng.child("class", k))
            found.append(one.distance(f"{NAME}: {name} ({of} features)", len(x)))
    return found
