"""Decimals: how many a column was written with, and how many a float32 can tell of a column of some scale."""

from __future__ import annotations

import math

import numpy as np

FLOAT32_DIGITS = 7
"""Decimals of a standardised number that a float32 can tell."""
MOST_DECIMALS = 6
"""With more decimals a column is a measurement to rounding error, not a number that someone wrote with so many."""


def decimals_of(column: np.ndarray) -> int | None:
    """The fewest decimals, from 1 to 6, that tell all numbers of a column (n,); None if these are not enough."""
    with np.errstate(over="ignore", invalid="ignore"):
        few = (k for k in range(1, MOST_DECIMALS + 1) if (np.round(column[:100], k) == column[:100]).all())
        return next((k for k in few if (np.round(column, k) == column).all()), None)


def decimals_told(scale: float) -> int | None:
    """The decimals that a float32 tells of numbers of standard deviation `scale`; None for very odd units, or 0."""
    return FLOAT32_DIGITS - math.floor(math.log10(scale)) if 1e-15 < scale < 1e15 else None
