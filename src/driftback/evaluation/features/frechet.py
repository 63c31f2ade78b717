"""The Fréchet distance: how far apart two sets are that have these means and covariances, and are normal otherwise.

    d^2 = |a - b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2        (Dowson and Landau 1982; on features of
                                                                     Inception: Heusel et al. 2017, arXiv 1706.08500)

With A = F^T F and B = G^T G the last trace is the sum of the singular values of F G^T, for any such F and G; here they
are the triangles of the centred items' QR decompositions. Nothing is squared on the way and no root of a matrix is
taken, so that ranks below the dimension, and sets that are alike, are as exact as others.

Of n items the value is too large by about c / n, also between equal laws. Richardson's extrapolation with both sets
halved, 2 d^2(n) - mean d^2(n/2), leaves terms of 1 / n^2 (the line in 1 / n is that of Chong and Forsyth 2020, arXiv
1911.07023, who take one set for endless; here both are halved, so that equal laws come out at 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftback.errors import BadInput
from driftback.evaluation.features.projection import PER_DIMENSION, Projection, dimensions
from driftback.evaluation.metric import TOO_FEW, Metric
from driftback.evaluation.permutation import GROUPS, Splits, Values, measure
from driftback.evaluation.points import Points, points, same_width
from driftback.randomness import Rng, as_rng

SHUFFLES = 99
"""The decompositions are dear: p goes down to .01, and the floor's ends are the third-outermost of 99."""
Chosen = NDArray[np.bool_]
NAME, ENDLESS = "Fréchet distance", "Fréchet distance, endless items"


def triangle(x: Points) -> Points:
    """F (min(n, d), d) with F^T F the unbiased covariance of the rows of `x` (n, d), n >= 2."""
    return np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r"))


def frechet(x: Points, y: Points) -> float:
    """The squared distance between the moments of `x` (n, d) and `y` (m, d), n, m >= 2, in squares of their unit."""
    f, g = triangle(x), triangle(y)
    shared = float(np.linalg.svd(f @ g.T, compute_uv=False).sum())
    gap = float(np.square(x.mean(0) - y.mean(0)).sum())
    return gap + float(np.square(f).sum()) + float(np.square(g).sum()) - 2 * shared


def both(x: Points, y: Points, first: Chosen, second: Chosen) -> tuple[float, float]:
    """What `frechet` says of the sets, and what it would say of endlessly many items like these.

    `first` (n,) and `second` (m,) choose a half of each set, two items at least in it and two beside it.
    """
    whole = frechet(x, y)
    return whole, 2 * whole - (frechet(x[first], y[second]) + frechet(x[~first], y[~second])) / 2


def frechet_distance(x: Points, y: Points) -> float:
    """The squared Fréchet distance between features `x` (n, d) and `y` (m, d), as it stands, in all d dimensions.

    Too large by about c / n: give a floor beside it, or use `frechet_metrics`. BadInput for fewer than two items,
    different numbers of features, and values that are not finite.
    """
    x, y = points(x, "features"), points(y, "features")
    same_width(one=x, other=y)
    if min(len(x), len(y)) < 2:
        raise BadInput("one item has no covariance; give at least two in each set")
    return max(0.0, frechet(x, y))


def halves(n: int) -> Chosen:
    """Which of n pooled items are in the first half, (n,), in every split.

    Items of one group of the jackknife, GROUPS places apart, alternate: each deletion is as large in both halves, and
    the jackknife does not take a change of halves for the items' own noise.
    """
    place = np.arange(n)
    return (place + place // GROUPS) % 2 == 0


def frechet_statistic(z: Points, ways: Splits) -> Values:
    """(C, 2): the distance as it stands, and for endless items, for every split."""
    half = halves(len(z))
    pairs = ((a > 0, b > 0) for a, b in zip(ways.first.T, ways.second.T, strict=True))
    return np.array([both(z[a], z[b], half[a], half[b]) for a, b in pairs])


def frechet_metrics(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    of: str,
    shuffles: int = SHUFFLES,
    rng: Rng | int | None = 0,
) -> list[Metric]:
    """The squared Fréchet distance between features `samples` (n, d) and `real` (m, d), as it stands and for endless
    items, with interval, floor and permutation p-value.

    `other` real items make the floor, and the ruler: where there are fewer than ten items for each feature, or more
    than 64 features, the distance is taken in their first principal components and the distance from these
    (`projection`). With fewer than 100 items in a set there is no number. `of` says whose features they are.
    """
    rng, n = as_rng(rng), len(samples)
    ruler = real if other is None else other
    kept = dimensions(samples.shape[1], min(n, len(real), len(ruler)))
    if kept is None:
        why = f"{TOO_FEW}: {min(n, len(real), len(ruler))}, of at least {PER_DIMENSION} for each of 10 dimensions"
        return [Metric(f"{NAME} ({of} features)", None, None, None, None, None, n, why)]
    project = Projection.fit(ruler, kept)
    x, y, z = project(samples), project(real), None if other is None else project(other)
    found = measure(frechet_statistic, x, y, z, shuffles=shuffles, rng=rng)
    where = f"({of} features, {x.shape[1]} dimensions)"
    return [
        found.comparison(0).distance(f"{NAME} {where}", n, least=0.0),
        found.comparison(1).distance(f"{ENDLESS} {where}", n),
    ]
