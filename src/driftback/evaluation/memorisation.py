"""Are samples copies of training items? A copy lies far closer to one training item than to any other.

For each sample, r = distance to the nearest training item / distance to the second nearest distinct one. A sample with
r < 1/3 counts as a copy (Yoon et al. 2023, 'Diffusion probabilistic models generalize when they fail to memorize',
section 3). Fresh items have such r too, in few dimensions often (3^-d of them in d dimensions), so held-out
items set the share that is to be expected, and Fisher's exact test compares. r needs no scale: samples that are too
smooth, hence near to everything, are not called copies for it.

Items of another law are no measure for copies, since far from all training items r is near 1. They are known by being
farther from the training items than these are from one another, by Mann and Whitney's test
(`driftback.evaluation.auc`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from sklearn.neighbors import NearestNeighbors

from driftback.evaluation.auc import REACH, auc
from driftback.evaluation.metric import ELSEWHERE, MEMORISED, NOT_MEMORISED, TOO_FEW, Metric, place
from driftback.evaluation.points import Points
from driftback.evaluation.shares import predicted, wilson

RATIO = 1 / 3
LEVEL = 0.01
"""The false-alarm rate of the verdict is at most this."""
COPIES = "copies of training items"
CLOSENESS = "closeness to training items"
LEFT_OUT_WORTH = 1 / 3
"""How many independent fresh items a training item that is left out is worth. They come in pairs of mutual neighbours,
and the training set is the very one whose neighbourhoods are in question: with 1 the verdict's false alarms were
measured at up to 6 in 100, with 1/2 at 2, with 1/3 at 0.3."""
ENOUGH = 20
"""Held-out items that the comparison needs."""
ENOUGH_LEFT_OUT = 10
"""Training items that it needs in their place."""
FAR, FAR_ERRORS = 0.55, 4.5
"""Held-out items lie elsewhere if they are farther out than training items this often, by so many standard errors. In
1,300 trials with items of one law 3.4 was the most; moved items that made fresh samples look memorised began at 0.59
and 4.5."""
MOST_COMPARED = 2_000
"""Training items whose distance to the others is measured for it."""


@dataclass(frozen=True)
class Memorisation:
    """The verdict with what it rests on."""

    copies: Metric
    """The share of samples that are copies; its floor is the band for as many fresh items."""
    closeness: Metric
    """P(a sample is closer to the training items than a fresh item is), 1/2 when alike: a sign, not a verdict."""
    p: float
    """Fisher's exact p-value, one-sided, that samples are copies no more often than fresh items; 1: untold."""
    nearest: NDArray[np.intp]
    """(n,): the training item nearest to each sample, for a gallery."""
    distance: Points
    """(n,): how far away it is."""
    ratio: Points
    """(n,): r, 0 for an exact copy, near 1 for a sample that is near to no one item."""


def nearest_two(items: Points, train: Points) -> tuple[NDArray[np.intp], Points, Points]:
    """For each of `items` the index of the nearest row of `train`, its distance, and r (1 if there is no second)."""
    # Twins in the training data would hide a copy of them: its second neighbour would be as near as its first.
    distinct, index = np.unique(train, axis=0, return_index=True)
    near = NearestNeighbors(n_neighbors=min(2, len(distinct))).fit(distinct)
    distances, found = near.kneighbors(items)
    ratio = distances[:, 0] / distances[:, 1] if len(distinct) > 1 else np.ones(len(items))
    return index[found[:, 0]], distances[:, 0], ratio


def left_out(train: Points, typical: Points | None = None) -> tuple[Points, Points]:
    """Each training item (N, d) against all the others: distance to the nearest, and r; both 0 if it has a twin.

    With `typical` (k, d), which are training items, only these are measured: the others of `train` are there because
    they are near to something, and far from their own neighbours, which are not.
    """
    distinct, inverse, counts = np.unique(train, axis=0, return_inverse=True, return_counts=True)
    if len(distinct) < 3:
        return np.zeros(len(train)), np.zeros(len(train))
    if typical is not None:
        distances, _ = NearestNeighbors(n_neighbors=3).fit(distinct).kneighbors(typical)
        return distances[:, 1], distances[:, 1] / distances[:, 2]
    distances, _ = NearestNeighbors(n_neighbors=3).fit(distinct).kneighbors(distinct)
    alone = np.where(counts > 1, 0.0, distances[:, 1])
    return alone[inverse.reshape(-1)], (alone / distances[:, 2])[inverse.reshape(-1)]


def elsewhere(fresh: Points, train: Points, typical: Points | None = None) -> bool:
    """Whether items with distances `fresh` (m,) to the nearest of `train` (N, d) are of another law than these."""
    distinct = np.unique(train, axis=0)
    if len(distinct) < 2:
        return False
    some = typical if typical is not None else distinct[:: -(-len(distinct) // MOST_COMPARED)]
    mutual = NearestNeighbors(n_neighbors=2).fit(distinct).kneighbors(some)[0][:, 1]
    found = auc(fresh, mutual)
    return found.value > max(FAR, 0.5 + FAR_ERRORS / REACH * (found.floor[1] - 0.5))


def memorisation(
    samples: Points, train: Points, held_out: Points | None = None, *, typical: Points | None = None
) -> Memorisation:
    """Compare `samples` (n, d) with training items (N, d) and fresh ones (m, d), n >= 1.

    The verdict is 'memorised', falsely so in at most 1 of 100 judgements, 'not memorised', 'too few items', or 'cannot
    tell', without a floor, where the fresh items are of another law than the training items. Fewer
    than 20 held-out items are set aside, and training items, each against all others, stand for fresh ones, which the
    metrics' names tell; fewer than 10 of them are too few. Where training items lie closer together than the noise on
    the copies (thousands of points in a plane), a copy is as good as fresh and is not told.

    Where `train` holds only those training items that are near to something here, `typical` (k, d) are some of all, and
    their nearest are in `train` as well: training items are compared with one another by these.
    """
    nearest, distance, ratio = nearest_two(samples, train)
    n, hits = len(samples), int((ratio < RATIO).sum())
    why = TOO_FEW
    if held_out is not None and len(held_out) >= ENOUGH:
        baseline, worth, (_, fresh, fresh_ratio) = "held-out items", 1.0, nearest_two(held_out, train)
        why = ELSEWHERE if elsewhere(fresh, train, typical) else ""
    elif len(train) >= ENOUGH_LEFT_OUT:
        baseline, worth = "each training item against the rest", LEFT_OUT_WORTH
        fresh, fresh_ratio = left_out(train, typical)
        why = ""
    if why:
        copies = Metric(COPIES, hits / n, *wilson(hits, n), None, None, n, why)
        closeness = Metric(CLOSENESS, None, None, None, None, None, n, why)
        return Memorisation(copies, closeness, 1.0, nearest, distance, ratio)
    m, seen = round(worth * len(fresh)), round(worth * int((fresh_ratio < RATIO).sum()))
    p = float(fisher_exact([[hits, n - hits], [seen, m - seen]], alternative="greater").pvalue)
    verdict = MEMORISED if p < LEVEL else NOT_MEMORISED
    against = f" (baseline: {baseline})"
    copies = Metric(COPIES + against, hits / n, *wilson(hits, n), *predicted(seen, m, n), n, verdict)
    closer = auc(fresh, distance).widened(worth**-0.5)
    verdict = place(closer.value, closer.floor, "farther from training items than fresh ones", "closer than fresh ones")
    closeness = Metric(CLOSENESS + against, closer.value, *closer.interval, *closer.floor, n, verdict)
    return Memorisation(copies, closeness, p, nearest, distance, ratio)
