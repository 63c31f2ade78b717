"""Mean and deviation of samples beside those of the data: the first look that finds grey, black and noisy samples.

The mean's gap is |mean x - mean y| over all coordinates (Euclidean, data units); the deviation ratio is
sqrt(sum of variances of x / sum of variances of y), 1 when alike.
"""

from __future__ import annotations

import numpy as np

from driftback.evaluation.metric import Metric, place
from driftback.evaluation.permutation import PERMUTATIONS, Splits, Values, measure
from driftback.evaluation.points import Points
from driftback.randomness import Rng


def moment_statistic(z: Points, ways: Splits) -> Values:
    """(C, 2): the gap of the means and the ratio of the deviations for every split."""
    # Centred first: a variance as a difference of squares loses digits far from the origin.
    z = z - z.mean(0)
    square = (z**2).sum(1)
    means, spreads = [], []
    for side in (ways.first, ways.second):
        share = side / side.sum(0)
        mean = share.T @ z
        means.append(mean)
        spreads.append(share.T @ square - (mean**2).sum(1))
    gap = np.linalg.norm(means[0] - means[1], axis=1)
    # Sets without any spread (one constant picture) have ratio 0 or 1, never 0 / 0, nor one rounding over another.
    least = 1e-12 * square.mean() + np.finfo(np.float64).tiny
    ratio = np.sqrt(np.maximum(spreads[0], least) / np.maximum(spreads[1], least))
    return np.stack([gap, ratio], axis=1)


def moments(
    samples: Points,
    real: Points,
    other: Points | None = None,
    *,
    shuffles: int = PERMUTATIONS,
    rng: Rng | int | None = 0,
) -> list[Metric]:
    """The gap of the means and the ratio of the deviations of `samples` (n, d) and `real` (m, d).

    `other` real items make the floor.
    """
    found = measure(moment_statistic, samples, real, other, shuffles=shuffles, rng=rng)
    ratio = found.comparison(1)
    verdict = place(ratio.value, ratio.floor, "too little spread", "too much spread")
    return [
        found.comparison(0).distance("gap of the means", len(samples), least=0.0),
        ratio.metric("deviation ratio", len(samples), verdict, least=0.0),
    ]


def diagnose(samples: Points, real: Points) -> str | None:
    """One sentence that names the likely cause when mean or deviation of `samples` (n, d) are far off; None if not.

    Far off means more than a quarter in the deviation, or half a deviation of the data in the mean, and more than
    chance (four standard errors, as if the coordinates were one) allows.
    """
    chance = 4 * np.sqrt(1 / len(samples) + 1 / len(real))
    spread_x, spread_y = np.sqrt(samples.var(0).mean()), np.sqrt(real.var(0).mean())
    if spread_y == 0:
        return None
    ratio = spread_x / spread_y
    shift = (samples.mean() - real.mean()) / spread_y
    told = f"samples have {ratio:.2f} times the data's deviation and a mean {shift:+.2f} data deviations off"
    if abs(shift) > max(0.5, chance):
        look = "one flat shade, black or white" if ratio < 0.75 else "all values are moved"
        return f"{told}: {look}; the units on the way in and out differ, or the start is not the simple distribution"
    # The relative error of a deviation is about 1 / sqrt(2 n).
    if ratio > 0 and abs(np.log(ratio)) < max(np.log(1.25), chance / np.sqrt(2)):
        return None
    if ratio < 1:
        return f"{told}: grey, all near the mean; train longer, or see that the network is told the noise level"
    return f"{told}: noise is left in them; sample with more steps, end at less noise, or train longer"
