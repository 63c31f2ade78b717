"""Do samples show what was asked for? A classifier that learned from real items says what it sees in them.

The share of samples in which a support vector machine (radial kernel, C = 10) sees the asked label, beside its share on
real held-out items, which is the floor: no sampler can be shown to do better than real items do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from driftback.evaluation.metric import ABOVE, WORSE, Metric, place
from driftback.evaluation.points import Points
from driftback.evaluation.shares import predicted, wilson

Labels = NDArray[np.generic]
NAME = "label agreement"


def label_agreement(
    samples: Points, asked: Labels, train: Points, train_labels: Labels, real: Points, real_labels: Labels
) -> list[Metric]:
    """The share of `samples` (n, d) that look like the label `asked` (n,): over all, then class by class.

    The classifier learns from `train` (N, d); `real` (m, d) items that it has not seen make the floor, None for a class
    that is not among them. Intervals are Wilson's, floors predictive 95 % bands for as many items.
    """
    classifier = SVC(C=10.0).fit(train, train_labels)
    right = classifier.predict(samples) == asked
    right_real = classifier.predict(real) == real_labels
    classes = np.unique(asked)
    everything = [_agreement(NAME, right, right_real)]
    return everything + [_agreement(f"{NAME}: {c}", right[asked == c], right_real[real_labels == c]) for c in classes]


def _agreement(name: str, right: NDArray[np.bool_], right_real: NDArray[np.bool_]) -> Metric:
    n, hits, m, real_hits = len(right), int(right.sum()), len(right_real), int(right_real.sum())
    if m == 0:
        return Metric(name, hits / n, *wilson(hits, n), None, None, n, "no real items of this class to compare with")
    floor = predicted(real_hits, m, n)
    return Metric(name, hits / n, *wilson(hits, n), *floor, n, place(hits / n, floor, WORSE, ABOVE))
