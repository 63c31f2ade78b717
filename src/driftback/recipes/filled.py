"""Draws of a fitted model after an observation, and what is told of them beside: how far they miss what was seen, how
far they reach, and what to warn a person of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from driftback.recipes.factor import Factor
from driftback.recipes.model import Model

AMISS, FAR = 3.0, 5.0
"""Draws that miss what was seen by so many of its deviations, or reach so many times as far as the data, are told."""
HEEDLESS = ("repaint", "dps")
"""Methods that do not ask how exact what was seen is."""


@dataclass(frozen=True, eq=False)
class Filled:
    """Items `x` (n, *event) in the units of the data, the `evaluations` that each took, their `misfit` (None without an
    observation), and, of `smc`, the `effective` number of its particles, the least along the way, from how many of
    them its draws descend (`families`), and the log-evidence: log p(y) in nats and the units of the data (of encoded
    items by `seen.through`), or log E h of a second density.
    """

    x: np.ndarray
    evaluations: int
    misfit: float | None
    """How far they miss what was seen, the root mean square in units of its noise: about 1 where it is possible."""
    reach: float
    """The root mean square of the encoded items in deviations of the data: far from 1 they are like no item."""
    effective: float | None = None
    log_evidence: float | None = None
    families: int | None = None
    said: tuple[str, ...] = ()
    """What to warn a person of."""


def is_rows(model: Model) -> bool:
    """Whether it draws rows, and not pictures."""
    return len(model.config.preprocessing.internal_event) == 1


def squares_of(model: Model, factor: Factor, x: Tensor) -> np.ndarray:
    """The mean squares of y - A x in units of the noise, NaN without an observation, and of encoded items `x` in those
    of the data, of rows those of the column that is farthest out, (2,).
    """
    missed = factor.missed(x)
    far = x.double().square().mean(0) / model.config.spread**2
    return np.array([math.nan if missed is None else missed, float(far.max() if is_rows(model) else far.mean())])


def roots(squares: np.ndarray) -> tuple[float | None, float]:
    """The roots of what `squares_of` gives, the first None where it is NaN."""
    misfit, reach = np.sqrt(squares).tolist()
    return None if math.isnan(misfit) else misfit, reach


def said_of(misfit: float | None, reach: float, method: str) -> tuple[str, ...]:
    """What to warn of draws by `method`."""
    said: tuple[str, ...] = ()
    if misfit is not None and misfit >= AMISS:
        why = "it is improbable under the model, or the steps are too few; give a larger --noise or more --steps"
        if method in HEEDLESS:
            why = f"{method} knows no noise; take --method mmps or smc where that matters"
        said += (f"the draws miss what was seen by {misfit:.3g} times its noise: {why}",)
    if reach > FAR:
        said += (f"the draws reach {reach:.3g} times as far as the data: what was asked for lies far from all items",)
    return said
