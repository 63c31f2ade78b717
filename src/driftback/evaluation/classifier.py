"""The classifier two-sample test: if a classifier cannot tell samples from real items, nor can you.

Half of the items train a forest, the other half judge it (Lopez-Paz and Oquab 2017, arXiv 1610.06545, section 3). In
place of their accuracy stands the area under the ROC curve, AUC = P(a sample scores above a real item), which needs no
threshold and no equal numbers, and whose law is known when both sets have one law. One split, not cross-validation:
folds share their training items, and their mean has no such law.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from driftback.evaluation.auc import auc
from driftback.evaluation.metric import Metric, place
from driftback.evaluation.points import Points, some
from driftback.randomness import Rng, as_rng

LOWER, ABOVE = "harder to tell apart than the floor", "told apart from real items"


def classifier_test(samples: Points, real: Points, *, rng: Rng | int | None = 0) -> Metric:
    """The held-out AUC of a forest that tells `samples` (n, d) from `real` (m, d), n, m >= 20: 1/2 is perfect.

    The floor is 1/2 +- 1.96 standard errors of Mann and Whitney's statistic, the interval DeLong's; `n` counts all
    samples, half of which judge. Data on a grid (8-bit pictures) and samples off it are told apart at once, so round
    such samples first.
    """
    rng = as_rng(rng)
    order = rng.child("halves").generator()
    x, y = some(samples, len(samples), order), some(real, len(real), order)
    train = np.concatenate([x[::2], y[::2]])
    labels = np.repeat([1, 0], [len(x[::2]), len(y[::2])])
    seed = int(rng.child("forest").generator().integers(2**31))
    forest = ExtraTreesClassifier(200, min_samples_leaf=3, class_weight="balanced", random_state=seed)
    forest.fit(train, labels)
    found = auc(*(forest.predict_proba(half)[:, 1] for half in (x[1::2], y[1::2])))
    verdict = f"{place(found.value, found.floor, LOWER, ABOVE)}, p = {found.p:.3g}"
    return Metric("classifier AUC", found.value, *found.interval, *found.floor, len(samples), verdict)
