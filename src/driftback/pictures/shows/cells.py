"""Masses at places of the plane, put on the cells of a grid: each into its cell, or shared among four."""

from __future__ import annotations

from itertools import product

import numpy as np


def counted(places: np.ndarray, masses: np.ndarray, cells: int) -> np.ndarray:
    """The sums (cells, cells) of `masses` (m,) whose nearest cell is the same, `places` (m, 2) in cells."""
    return _summed(np.rint(places).astype(np.int64), masses, cells)


def shared(places: np.ndarray, masses: np.ndarray, cells: int) -> np.ndarray:
    """As `counted`, each mass shared among its four nearest cells by how near they are, so that a grid on a coarser one
    leaves no pattern.
    """
    low = np.floor(places).astype(np.int64)
    up = places - low
    total = np.zeros((cells, cells))
    for row, column in product((0, 1), (0, 1)):
        share = np.abs(1 - row - up[:, 0]) * np.abs(1 - column - up[:, 1])
        total += _summed(low + np.array([row, column]), masses * share, cells)
    return total


def _summed(cell: np.ndarray, masses: np.ndarray, cells: int) -> np.ndarray:
    inside = ((cell >= 0) & (cell < cells)).all(1)
    number = cell[inside] @ [cells, 1]
    return np.bincount(number, masses[inside], cells * cells).reshape(cells, cells)
