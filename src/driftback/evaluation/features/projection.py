"""Fewer dimensions: the first principal components of real items, and how far an item lies from their plane.

z = (V^T (x - mean), |x - mean - V V^T (x - mean)|) with V the k leading eigenvectors of the real items' covariance. A
covariance in d dimensions has d (d + 1) / 2 numbers, which a few hundred items do not tell: ten items for each
dimension are asked for here. What leaves the plane would be invisible in the components alone (noise on data that have
none), and is seen in the last coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftback.evaluation.points import Points

PER_DIMENSION = 10
"""Items that each dimension asks for, in the smaller set."""
FEWEST, MOST = 10, 64
"""Dimensions: with fewer the number says too little, and more are noise at the usual thousand items."""


def dimensions(d: int, items: int) -> int | None:
    """How many of `d` dimensions to compare `items` in (the fewest of any set); None where they are too few."""
    bearable = min(items // PER_DIMENSION, MOST)
    return min(d, bearable) if bearable >= FEWEST else None


@dataclass(frozen=True)
class Projection:
    """Onto the rows' own space where that is small enough, else onto `axes` (d, k) around `mean` (d,)."""

    mean: Points
    axes: Points | None

    @classmethod
    def fit(cls, real: Points, kept: int) -> Projection:
        """For `kept` dimensions, of which one is the distance from the plane, unless all of them are kept."""
        mean = real.mean(0)
        if kept >= real.shape[1]:
            return cls(mean, None)
        _, axes = np.linalg.eigh(np.cov(real, rowvar=False))
        return cls(mean, axes[:, ::-1][:, : kept - 1])

    def __call__(self, x: Points) -> Points:
        """(n, kept) from (n, d)."""
        y = x - self.mean
        if self.axes is None:
            return y
        z = y @ self.axes
        away = np.sqrt(np.maximum(np.square(y).sum(1) - np.square(z).sum(1), 0.0))
        return np.concatenate([z, away[:, None]], axis=1)
