"""The order of the data: every epoch its own shuffle, known from the seed and the step alone.

A resume therefore needs no position: step k takes places k B .. (k + 1) B of the endless sequence of shuffled epochs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from driftback.randomness import Rng


@lru_cache(maxsize=8)
def _epoch(rng: Rng, epoch: int, items: int) -> np.ndarray:
    return rng.child("epoch", epoch).generator().permutation(items)


def batch_indices(rng: Rng, step: int, batch: int, items: int) -> np.ndarray:
    """The (batch,) item numbers of step `step`; a batch larger than the data takes several epochs."""
    place, stop = step * batch, (step + 1) * batch
    parts = []
    while place < stop:
        epoch, offset = divmod(place, items)
        take = min(items - offset, stop - place)
        parts.append(_epoch(rng, epoch, items)[offset : offset + take])
        place += take
    return np.concatenate(parts)
