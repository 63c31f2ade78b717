"""Which features a model's pictures are judged in: by name, by a person's own function, or in none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.data.preprocessing import Preprocessing
from driftback.errors import BadInput
from driftback.evaluation.features.extractor import Extractor, Function
from driftback.evaluation.features.judged import judge_features
from driftback.evaluation.features.named import AUTO, NONE, features_named
from driftback.evaluation.metric import Metric

Features = str | Callable[[np.ndarray], Any] | None
"""A name of `driftback.evaluation.features.named.FEATURES`, 'auto', 'none', or a function from items as the model
draws them, (n, *event), to features (n, d); None is 'none'."""


def extractor_of(features: Features, prepared: Preprocessing) -> Callable[[Tensor], Extractor] | None:
    """From encoded training items (n, *event) to the extractor for `features`; None for none.

    'auto' leaves points out, which have no features but themselves. BadInput for a name that is not known, and for
    named features of points.
    """
    pictures = prepared.kind == "pictures"
    if features is None or features == NONE or (features == AUTO and not pictures):
        return None
    if callable(features):
        theirs = Function(features, prepared.decode)
        return lambda train: theirs
    make = features_named(features)
    if not pictures:
        raise BadInput(f"{features} are features of pictures, and these are points; give a function as features")
    return make


def feature_metrics(
    make: Callable[[Tensor], Extractor],
    prepared: Preprocessing,
    drawn: np.ndarray,
    known: np.ndarray,
    held: np.ndarray | None,
    *,
    labels: Mapping[str, np.ndarray | None],
    seed: int,
) -> list[Metric]:
    """The measurements of flat encoded items (n, d): `drawn` against `known` and `held`, in the features that `make`
    gives.
    """
    event = prepared.internal_event
    x, train = (torch.from_numpy(flat).reshape(-1, *event) for flat in (drawn, known))
    fresh = None if held is None else torch.from_numpy(held).reshape(-1, *event)
    return judge_features(make(train), x, train, fresh, **labels, rng=seed)
