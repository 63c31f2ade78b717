"""Fine grids: the evenly spaced values of pictures that are too many to be levels, as 16-bit ones have.

Values v_k = start + k step. A model treats them as continuous, but they are discrete: what is told of them is a
probability per cell (`driftback.recipes.assembly.cells`), where a density at single values would mean nothing.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from driftback.data.levels import distinct
from driftback.data.rows import Stack, blocks

MOST = 1 << 16
"""Fractions are looked at for a grid where they have at most so many values; whole numbers lie on one anyway."""
SINGLE = 2.0**-22
"""The rounding of single precision, of the largest value."""


class Grid(BaseModel):
    """The grid start, start + step, ... in raw units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    step: float = Field(gt=0)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The nearest value of the grid; the shape of `x`, float64."""
        return self.start + self.step * np.rint((x - self.start) / self.step)

    def within(self, x: np.ndarray, low: float, high: float) -> np.ndarray:
        """The nearest value of the grid from `low` to `high`, whose ends may lie off it; the shape of `x`, float64."""
        below, above = np.ceil((low - self.start) / self.step - 1e-3), np.floor((high - self.start) / self.step + 1e-3)
        return self.start + self.step * np.clip(np.rint((x - self.start) / self.step), below, above)

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Where `x` lies on the grid, up to a thousandth of a step or single precision: booleans like `x`."""
        x = x.astype(np.float64)
        return np.abs(x - self.nearest(x)) <= np.maximum(1e-3 * self.step, 2 * SINGLE * np.abs(x))


def find_grid(x: Stack) -> Grid | None:
    """The grid that `x` (n, *event) lies on: whole numbers on that of their common step, fractions where their least
    step, brought into line with their span, holds them all to single precision; None for continuous data.
    """
    values = distinct(x, MOST)
    if x.dtype.kind != "f" or all(bool((x[part] == np.rint(x[part])).all()) for part in blocks(x)):
        near = values is not None and len(values) > 1 and np.abs(values[[0, -1]]).max() < 1 << 53
        step = np.gcd.reduce(np.diff(values).astype(np.int64)) if near and values is not None else 1
        return Grid(start=float(values[0]) if near and values is not None else 0.0, step=float(step))
    if values is None or len(values) < 3 or x.dtype.itemsize < 4:
        return None
    span, error = float(values[-1] - values[0]), SINGLE * float(np.abs(values).max())
    count = round(min(span / float(np.diff(values).min()), 2.0 * MOST))
    if count > MOST or error > span / count / 16:
        return None
    grid = Grid(start=float(values[0]), step=span / count)
    return grid if float(np.abs(grid.nearest(values) - values).max()) <= error else None
