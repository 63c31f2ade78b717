"""The extent of data: values that are no numbers, values too large to be squared, and the range that pictures mean."""

from __future__ import annotations

import numpy as np

from driftback.data.rows import Stack, blocks
from driftback.errors import BadInput

LARGEST = 1e150
"""Beyond it the squares that deviations are made of overflow, and so would the sum of many."""


def refuse_not_finite(x: Stack) -> None:
    """Raise BadInput, naming the first item, where `x` (n, *event) holds NaN or infinity."""
    bad = [int((~np.isfinite(x[part])).sum()) for part in blocks(x)] if x.dtype.kind == "f" else [0]
    if sum(bad):
        item = next(i for part in blocks(x) for i in np.argwhere(~np.isfinite(x[part]))[:, 0] + part.start)
        raise BadInput(f"{sum(bad)} values are NaN or infinite, the first in item {item}: drop or fill these items")


SCALE_DOWN = "divide them by a power of ten"


def too_large(x: Stack) -> int:
    """How many of the finite values `x` (n, *event) are beyond `LARGEST`."""
    if x.dtype.kind != "f" or x.dtype.itemsize < 8:
        return 0
    return sum(int((np.isfinite(x[part]) & (np.abs(x[part]) > LARGEST)).sum()) for part in blocks(x))


def declared_range(x: Stack) -> tuple[float, float]:
    """The range that pictures `x` are meant in: 0..255, 0..1, -1..1 or 0..65535 where they fit, else what is there.

    Whole numbers above 127 and up to 255 mean 0..255, 16-bit values above 255 mean 0..65535, fractions within 0..1 or
    -1..1 mean just that.
    """
    low, high = float(x.min()), float(x.max())
    if low >= 0 and 127 < high <= 255:
        return 0.0, 255.0
    if x.dtype == np.uint16 and high > 255:
        return 0.0, 65535.0
    if x.dtype.kind == "f" and -1 <= low < 0 <= high <= 1:
        return -1.0, 1.0
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high
