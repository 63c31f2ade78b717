"""Which features a model's pictures are judged in: by name, by a person's own function, or in none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.data.preprocessing import Preprocessing
from driftback.errors import BadInput
from driftback.evaluation.features import inception
from driftback.evaluation.features.extractor import Extractor, Function
from driftback.evaluation.features.judged import Kind, judge_features
from driftback.evaluation.features.named import AUTO, NONE, features_named, with_weights
from driftback.evaluation.metric import Metric

Features = str | Callable[[np.ndarray], Any] | None
"""A name of `driftback.evaluation.features.named.FEATURES`, 'auto', 'none', or a function from items as the model
draws them, (n, *event), to features (n, d); None is 'none'."""


def kind_of(features: Features, prepared: Preprocessing, fid_weights: str | Path | None = None) -> Kind | None:
    """The kind of features that `features` asks for, None for none; `fid_weights` is a file with Inception's.

    'auto' leaves points out, which have no features but themselves. BadInput for a name that is not known, and for
    named features of points.
    """
    pictures = prepared.kind == "pictures"
    if fid_weights is not None:
        if callable(features) or features not in (AUTO, inception.NAME):
            raise BadInput(f"fid_weights are for the features {inception.NAME}; leave one of the two out")
        features = inception.NAME
    if features is None or features == NONE or (features == AUTO and not pictures):
        return None
    if callable(features):
        theirs = Function(features, prepared.decode)
        return Kind(lambda train: theirs)
    kind = features_named(features) if fid_weights is None else with_weights(Path(fid_weights))
    if not pictures:
        raise BadInput(f"{features} are features of pictures, and these are points; give a function as features")
    return kind


@dataclass(frozen=True)
class Judge:
    """An extractor that is ready, and what it is ready for: flat encoded items (n, d) are `event`s."""

    kind: Kind
    extractor: Extractor
    event: tuple[int, ...]

    @classmethod
    def of(cls, kind: Kind, prepared: Preprocessing, known: np.ndarray) -> Judge:
        """For features of this `kind`, fitted to the flat training items `known`. BadInput where they cannot be had."""
        event = prepared.internal_event
        return cls(kind, kind.make(_shaped(known, event)), event)

    def __call__(
        self,
        drawn: np.ndarray,
        known: np.ndarray,
        held: np.ndarray | None,
        *,
        labels: Mapping[str, np.ndarray | None],
        seed: int,
    ) -> list[Metric]:
        """The measurements of `drawn` against `known` and `held`."""
        x, train = _shaped(drawn, self.event), _shaped(known, self.event)
        fresh = None if held is None else _shaped(held, self.event)
        return judge_features(self.extractor, x, train, fresh, **labels, distances=self.kind.distances, rng=seed)


def _shaped(flat: np.ndarray, event: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(flat).reshape(-1, *event)
