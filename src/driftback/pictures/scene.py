"""What a picture says, apart from how it looks: a scene is panels, and a panel is layers of points, densities, paths.

Every format is written from this one structure: a still is a scene, and a film is many. Layers hold numbers in the
units of their panel's axes and the role that they play (`driftback.pictures.palette` has the colours), so that a test
can ask a scene what it shows: where the points are, what a density integrates to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Role = Literal["data", "made", "start", "accepted", "rejected", "other", "faint"]
"""What a layer is: real points or the exact law, what a sampler made, where it began, what a chain did, a rival, or
what is only there to compare with.
"""
Limits = tuple[float, float, float, float]
"""Left, right, bottom and top."""


@dataclass(frozen=True, eq=False)
class Points:
    """Dots at `x` (n, 2), `size` typographic points wide."""

    x: np.ndarray
    role: Role = "made"
    size: float = 3.0
    alpha: float = 0.8


@dataclass(frozen=True, eq=False)
class Density:
    """`values` (rows, columns) >= 0 at the centres of equal cells that fill `extent`, the first row at the bottom.

    The darkest colour stands for `peak`, or for the highest value where that is None.
    """

    values: np.ndarray
    extent: Limits
    alpha: float = 1.0
    peak: float | None = None

    @property
    def integral(self) -> float:
        """The sum over the cells times their area: 1 for a density that the extent holds whole."""
        left, right, bottom, top = self.extent
        return float(self.values.sum()) * (right - left) * (top - bottom) / self.values.size


@dataclass(frozen=True, eq=False)
class Arrows:
    """Arrows from `x` (n, 2) to `x + v` (n, 2)."""

    x: np.ndarray
    v: np.ndarray
    role: Role = "made"
    alpha: float = 0.9


@dataclass(frozen=True, eq=False)
class Paths:
    """Polylines (n, steps, 2), all of as many corners, `width` typographic points wide."""

    lines: np.ndarray
    role: Role = "made"
    width: float = 1.0
    alpha: float = 0.8


@dataclass(frozen=True, eq=False)
class Bars:
    """A histogram: `heights` (m,) between `edges` (m + 1,), which rise."""

    edges: np.ndarray
    heights: np.ndarray
    role: Role = "made"
    alpha: float = 0.8

    @property
    def integral(self) -> float:
        """The area of the bars: 1 for a density that the edges hold whole."""
        return float((self.heights * np.diff(self.edges)).sum())


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through (x, y), both (m,)."""

    x: np.ndarray
    y: np.ndarray
    role: Role = "data"
    width: float = 1.5
    alpha: float = 1.0


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pictures (n, height, width, 3) uint8, row by row in `columns`, each with its word below if there are `words`.

    One pixel of a picture is one unit of the axes, which run from 0 to `size`; the first row is at the top.
    """

    pictures: np.ndarray
    columns: int
    words: tuple[str, ...] = ()

    @property
    def below(self) -> int:
        """How many pixels of a picture are left free below it."""
        return max(1, round(0.22 * self.pictures.shape[2])) if self.words else 1

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of all of it, gaps included."""
        n, height, width, _ = self.pictures.shape
        return self.columns * (width + 1) + 1, -(-n // self.columns) * (height + self.below) + 1

    def corner(self, i: int) -> tuple[int, int]:
        """The left and the top pixel of picture `i`, counted from the top."""
        height, width = self.pictures.shape[1:3]
        return i % self.columns * (width + 1) + 1, i // self.columns * (height + self.below) + 1


Layer = Points | Density | Arrows | Paths | Bars | Curve | Tiles


@dataclass(frozen=True, eq=False)
class Panel:
    """`layers` from the lowest to the topmost, within `limits`.

    Where `equal`, one unit is as long across as up, and the limits are widened to fill the box, which is `shape` times
    as high as it is wide. It has a `frame`, and `numbers` at its axes, or not.
    """

    layers: tuple[Layer, ...]
    limits: Limits
    title: str = ""
    names: tuple[str, str] = ("", "")
    """What is written at the axes."""
    equal: bool = True
    shape: float = 1.0
    frame: bool = True
    numbers: bool = True


@dataclass(frozen=True, eq=False)
class Scene:
    """Panels side by side, `columns` to a row (all in one row where that is None), and words below.

    `caption`, one line, stays the same through a film, while `moment` tells where it is: "t = 0.25".
    """

    panels: tuple[Panel, ...]
    caption: str = ""
    moment: str = ""
    columns: int | None = None

    @property
    def across(self) -> int:
        """How many panels stand in a row."""
        return min(self.columns or len(self.panels), len(self.panels))


def around(*clouds: np.ndarray, share: float = 0.002, room: float = 0.08) -> Limits:
    """Limits that hold all points of the `clouds` (n, 2) but a `share` at each end, with some `room` on every side."""
    low, high = np.quantile(np.concatenate(clouds), [share, 1 - share], axis=0)
    wide = np.maximum(high - low, 1e-9 + 1e-6 * np.abs(high))
    (left, bottom), (right, top) = low - room * wide, high + room * wide
    return float(left), float(right), float(bottom), float(top)


def squared(limits: Limits) -> Limits:
    """The smallest square about the same middle that holds `limits`."""
    left, right, bottom, top = limits
    half = max(right - left, top - bottom) / 2
    x, y = (left + right) / 2, (bottom + top) / 2
    return x - half, x + half, y - half, y + half


def centres(extent: Limits, cells: int) -> np.ndarray:
    """The centres (cells * cells, 2) of the cells of a `Density` of (cells, cells) values, row by row."""
    left, right, bottom, top = extent
    share = (np.arange(cells) + 0.5) / cells
    x, y = np.meshgrid(left + (right - left) * share, bottom + (top - bottom) * share)
    return np.stack([x.ravel(), y.ravel()], 1)
