"""Items as rows: whatever its event shape, an item is one point of a flat space, in float64.

Pictures are plain pixels here, in the internal (standardised) units of the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from driftback.errors import BadInput

Points = NDArray[np.float64]


def points(x: Tensor | NDArray[np.generic], name: str = "samples") -> Points:
    """`x` (n, *event) as (n, d) float64 on the CPU; BadInput for no items and for values that are not finite."""
    rows = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
    if rows.ndim == 0 or rows.size == 0:
        raise BadInput(f"the {name} are empty; give an array of shape (n, *event) with n > 0")
    rows = rows.reshape(len(rows), -1)
    bad = int((~np.isfinite(rows)).any(axis=1).sum())
    if bad:
        raise BadInput(
            f"{bad} of the {len(rows)} {name} hold values that are not finite; "
            "train longer or with a smaller learning rate, or sample with more steps"
        )
    return rows


def same_width(**sets: Points) -> None:
    """BadInput unless all sets have items of the same size; the names are told to the user."""
    widths = {name: rows.shape[1] for name, rows in sets.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name.replace('_', ' ')}: {width}" for name, width in widths.items())
        raise BadInput(
            f"items of different sizes cannot be compared ({told} numbers per item); give the same kind of data"
        )


def some(rows: Points, n: int, generator: np.random.Generator) -> Points:
    """At most `n` of the rows, in random order, without repetition."""
    return rows[generator.permutation(len(rows))[:n]]
