"""How good is it: one call that measures all there is, each number with its interval and the floor of real data.

Samples are compared with held-out items; training items serve as the other real set, which makes the floor, and as what
may have been copied.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.classifier import classifier_test
from driftback.evaluation.labels import label_agreement
from driftback.evaluation.memorisation import memorisation
from driftback.evaluation.metric import Metric
from driftback.evaluation.moments import moments
from driftback.evaluation.pairwise import energy_distance, mmd
from driftback.evaluation.points import Points, points, same_width, some
from driftback.evaluation.prdc import prdc
from driftback.evaluation.sliced import sliced_wasserstein
from driftback.randomness import Rng, as_rng

Array = NDArray[np.generic] | Tensor

FEWEST = 20
FEWEST_REAL = 10
"""With fewer real items than this, copies of them could not be told from new ones."""
MOST = 10_000
"""Items per set in the distances."""
ENOUGH_FOR_FLOOR = 100
"""Training items from which on samples are left out, if need be, to have a floor of real items alone."""
MOST_LEARNED = 2_000
"""Items per set that a classifier tells apart, and samples that are searched for copies."""
MOST_BALLS = 1_000
"""Items per set in precision, recall, density and coverage."""
MOST_LABELLED = 5_000
"""Samples and training items in the label agreement."""


def judge(
    samples: Array,
    train: Array,
    held_out: Array | None = None,
    *,
    sample_labels: Array | None = None,
    train_labels: Array | None = None,
    held_labels: Array | None = None,
    searched: Array | None = None,
    typical: Array | None = None,
    rng: Rng | int | None = 0,
) -> list[Metric]:
    """Every measurement of `samples` (n, *event) against `train` (N, *event) and `held_out` (m, *event).

    All in the same units; quantised data with quantised samples. Class labels, (n,), (N,) and (m,), are used when all
    three are given. `searched` (k, *event) are the training items that copies are looked for among, if not `train`, and
    `typical` some of all training items, whose neighbours are in `searched` too.
    Each metric says how many samples it used. With fewer than 20 held-out items, training items take their place.
    BadInput for fewer than 20 samples or 10 real items, values that are not finite, items of different sizes and labels
    of another number than items.
    """
    rng = as_rng(rng)
    x, known = points(samples, "samples"), points(train, "training items")
    held = points(held_out, "held-out items") if held_out is not None and len(held_out) else None
    same_width(samples=x, training_items=known, **({} if held is None else {"held_out_items": held}))
    if len(x) < FEWEST:
        raise BadInput(f"{len(x)} samples say nothing reliable; draw at least {FEWEST}, better 1000")
    real, other = (known, None) if held is None or len(held) < FEWEST else (held, known)
    if len(real) < FEWEST_REAL:
        raise BadInput(f"{len(real)} real items are too few to judge by; give at least {FEWEST_REAL}")
    order = rng.child("order").generator()
    rows = order.permutation(len(x))
    x, real = x[rows], some(real, len(real), order)

    def sets(most: int) -> tuple[Points, Points, Points | None]:
        # As many samples as there are other real items, so that the floor can be made of real items alone.
        n = most if other is None or len(other) < ENOUGH_FOR_FLOOR else min(most, len(other))
        return x[:n], real[:most], other

    far = sets(MOST)
    found = [
        sliced_wasserstein(*far, rng=rng.child("sliced")),
        energy_distance(*far, rng=rng.child("energy")),
        mmd(*far, rng=rng.child("mmd")),
        classifier_test(*sets(MOST_LEARNED)[:2], rng=rng.child("classifier")),
        *prdc(*sets(MOST_BALLS), rng=rng.child("prdc")),
        *moments(*far, rng=rng.child("moments")),
    ]
    among, some_of_all = (None if one is None else points(one) for one in (searched, typical))
    copied = memorisation(x[:MOST_LEARNED], known if among is None else among, held, typical=some_of_all)
    found += [copied.copies, copied.closeness]
    if held is not None and sample_labels is not None and train_labels is not None and held_labels is not None:
        asked = _labels(sample_labels, len(x), "samples")[rows]
        learned = _labels(train_labels, len(known), "training items")
        truth = _labels(held_labels, len(held), "held-out items")
        some_known = order.permutation(len(known))[:MOST_LABELLED]
        some_x = slice(MOST_LABELLED)
        # One class alone leaves nothing to agree with.
        if len(np.unique(learned[some_known])) > 1:
            found += label_agreement(x[some_x], asked[some_x], known[some_known], learned[some_known], held, truth)
    return found


def _labels(labels: Array, n: int, name: str) -> NDArray[np.generic]:
    found = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels).reshape(-1)
    if len(found) != n:
        raise BadInput(f"there are {len(found)} labels for {n} {name}; give one label per item")
    return found
