"""Levels: the few, evenly spaced values that discrete data takes (0..255 in a picture, 0..16 in scikit-learn's digits).

Values v_k = start + k step, k = 0 .. count - 1. Data on such a grid is discrete: its density is a probability per cell,
and samples are rounded back to it.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from driftback.data.rows import Stack, blocks

MOST = 256
TOLERANCE = 1e-3  # of a step: more than the rounding of k / 255 in float32, far less than a real gap between levels


class Levels(BaseModel):
    """The grid start, start + step, ..., of `count` values in raw units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    step: float = Field(gt=0)
    count: int = Field(ge=2, le=MOST)

    @property
    def values(self) -> np.ndarray:
        """The levels in rising order, (count,) float64."""
        return self.start + self.step * np.arange(self.count)

    def index(self, x: np.ndarray) -> np.ndarray:
        """The number of the nearest level, clipped to the grid; the shape of `x`, float64."""
        return np.clip(np.rint((x - self.start) / self.step), 0, self.count - 1)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The nearest level; the shape of `x`, float64."""
        return self.start + self.step * self.index(x)

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Where `x` lies on a level, up to a thousandth of a step; booleans in the shape of `x`."""
        return np.abs(x - self.nearest(x)) <= TOLERANCE * self.step


def distinct(x: Stack, most: int = MOST) -> np.ndarray | None:
    """The distinct values of `x` (n, *event) in rising order, or None when they are over `most` or not finite."""
    if x.dtype == np.uint8 and most >= 256:
        return _distinct_bytes(x)
    found = np.empty(0, x.dtype)
    for part in blocks(x, 1 << 18):
        found = np.union1d(found, x[part])
        if len(found) > most or (len(found) and not np.isfinite(found[[0, -1]]).all()):
            return None
    return found.astype(np.float64)


def _distinct_bytes(x: Stack) -> np.ndarray:
    """The same for bytes: a mark per value, and no further look once all 256 are there."""
    seen = np.zeros(256, bool)
    for part in blocks(x, 1 << 20):
        seen[x[part]] = True
        if seen.all():
            break
    return np.flatnonzero(seen).astype(np.float64)


def find_levels(x: Stack, low: float, high: float) -> Levels | None:
    """The grid that `x` (n, *event) lies on, or None when its values are not 2 to 256 evenly spaced ones.

    Gaps are allowed. A grid that fits [low, high] is extended to it, so that a level which is only missing here is
    known.
    """
    values = distinct(x)
    if values is None or len(values) < 2:
        return None
    step = float(np.diff(values).min())
    if (values == np.rint(values)).all() and np.abs(values[[0, -1]]).max() < 1 << 53:
        step = float(np.gcd.reduce(np.diff(values).astype(np.int64)))
        if not _fits(values[0], step, low, high):
            step = 1.0
    start = float(values[0])
    if _fits(start, step, low, high):
        wide = _grid(low, (high - low) / round((high - low) / step), high, values)
        if wide is not None:
            return wide
    return _grid(start, step, float(values[-1]), values)


def _grid(start: float, step: float, stop: float, values: np.ndarray) -> Levels | None:
    """The levels from `start` to `stop`; None where they are too many, or not these `values` to single precision."""
    if stop - start > MOST * step:
        return None
    count = round((stop - start) / step) + 1
    if not 2 <= count <= MOST:
        return None
    levels = Levels(start=start, step=step, count=count)
    moved = np.abs(levels.nearest(values) - values).max()
    return levels if moved <= 2.0**-22 * np.abs(values).max() else None


def _fits(start: float, step: float, low: float, high: float) -> bool:
    if high - low > 2 * MOST * step:  # no grid of so many levels; and a step near 0 would overflow below
        return False
    steps = np.array([start - low, high - start]) / step
    return bool((np.abs(steps - np.rint(steps)) <= TOLERANCE).all() and steps.sum() + 1 < MOST + 0.5)
