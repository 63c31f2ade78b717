"""Judged in features: Fréchet and kernel distances, precision and recall, and the kernel distance class by class.

The same numbers as on pixels, with the same floors and intervals, but between rows of features, so that they see what
a network, or a person's own function, sees. Every name says whose features they are: numbers of different features
are not comparable, and none of them is FID, which is what `inception` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftback.evaluation.features.extractor import Extractor, extract
from driftback.evaluation.features.frechet import frechet_metrics
from driftback.evaluation.features.kernel import Unit, by_class, kernel_distance
from driftback.evaluation.judge import ENOUGH_FOR_FLOOR, FEWEST, MOST_BALLS
from driftback.evaluation.metric import Metric
from driftback.evaluation.points import Points
from driftback.evaluation.prdc import prdc
from driftback.randomness import Rng, as_rng

MOST = 5_000
"""Items per set whose features are compared."""
ENOUGH = 2_000
"""Real items, or twice as many as samples, are as good as all: their own noise is the smaller part then."""
Labels = NDArray[np.generic]


class Distances(Protocol):
    """From features of samples (n, d), real items (m, d) and other real ones to measurements of their distance."""

    def __call__(self, x: Points, y: Points, z: Points | None, *, of: str, rng: Rng) -> list[Metric]: ...


def frechet_and_kernel(x: Points, y: Points, z: Points | None, *, of: str, rng: Rng) -> list[Metric]:
    """What is told in any features: the Fréchet distance, as it stands and for endless items, and the kernel's."""
    found = frechet_metrics(x, y, z, of=of, rng=rng.child("frechet"))
    return [*found, kernel_distance(x, y, z, of=of, rng=rng.child("kernel"))]


@dataclass(frozen=True)
class Kind:
    """How features are made, from encoded training items (n, *event), and which distances are told in them."""

    make: Callable[[Tensor], Extractor]
    distances: Distances = frechet_and_kernel


def judge_features(
    extractor: Extractor,
    samples: Tensor,
    train: Tensor,
    held_out: Tensor | None = None,
    *,
    sample_labels: Labels | None = None,
    train_labels: Labels | None = None,
    held_labels: Labels | None = None,
    distances: Distances = frechet_and_kernel,
    rng: Rng | int | None = 0,
) -> list[Metric]:
    """The measurements in features of `samples` (n, *event) against `train` (N, *event) and `held_out` (m, *event).

    As in `judge`: with fewer than 20 held-out items, training items take their place, and the floor is made of
    training items where there are enough. Labels, (n,), (N,) and (m,), give the kernel distance of each class. BadInput
    where the features are not one finite row for each item, and for fewer than two items in a set.
    """
    rng = as_rng(rng)
    order = rng.child("order").generator()
    alone = held_out is None or len(held_out) < FEWEST
    truth, names = (train, train_labels) if alone or held_out is None else (held_out, held_labels)
    enough = not alone and len(train) >= ENOUGH_FOR_FLOOR
    few = min(MOST, len(train)) if enough else MOST
    x, asked = _features(extractor, samples, sample_labels, few, order)
    y, true = _features(extractor, truth, names, min(MOST, max(ENOUGH, 2 * len(x))), order)
    z = _features(extractor, train, None, max(len(x), ENOUGH_FOR_FLOOR), order)[0] if enough else None
    of = extractor.name
    found = distances(x, y, z, of=of, rng=rng)
    balls = prdc(x[:MOST_BALLS], y[:MOST_BALLS], z, rng=rng.child("prdc"))
    found += [replace(metric, name=f"{metric.name} ({of} features)") for metric in balls]
    if asked is not None and true is not None:
        unit = Unit.of(y if z is None else z)
        found += by_class(x, asked, y, true, of=of, unit=unit, rng=rng.child("classes"))
    return found


def _features(
    extractor: Extractor, items: Tensor, labels: Labels | None, most: int, order: np.random.Generator
) -> tuple[Points, Labels | None]:
    """The features of at most `most` of the items, in random order, and their labels."""
    rows = order.permutation(len(items))[:most]
    return extract(extractor, items[torch.from_numpy(rows)]), None if labels is None else labels[rows]
