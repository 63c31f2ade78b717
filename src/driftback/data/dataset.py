"""A person's data as it came: values in their own units and layout, with labels and with what was noticed on reading.

Readers make it, the doctor examines it, and the preprocessing turns it into tensors. Nothing here is scaled or moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from driftback.distributions.protocols import Density
from driftback.errors import BadInput

Level = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """Something noticed about the data: how bad it is, what it is in one sentence, how often, and in which files."""

    level: Level
    what: str
    count: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items `x` (n, *event) in raw units, with labels `y` (n,) that index `classes`, or None.

    `kind` is "points" (one row of numbers per item) or "pictures" ((h, w), (h, w, c) or (c, h, w) per item).
    `columns` names the numbers of a point, `value_range` the lowest and highest value that the source's format
    declares, and `density` the exact law that the items were drawn from, where there is one.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    kind: str = "points"
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    name: str = "data"
    findings: tuple[Finding, ...] = ()
    density: Density | None = None
    value_range: tuple[float, float] | None = None
    captions: tuple[str, ...] | None = None
    """A sentence per item, "" where there is none."""
    numbers: np.ndarray | None = None
    """Numbers (n, k) float64 that go with the items and are not drawn, NaN where one is missing."""
    number_names: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    """Codes (n,) int64: items of one group are trained on together, or held out together."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one item as it came."""
        return self.x.shape[1:]

    def column(self, j: int) -> str:
        """What to call column `j` of a point in a message: its name in quotes, or its number."""
        return repr(self.columns[j]) if self.columns else str(j)

    def take(self, index: np.ndarray) -> Dataset:
        """The items with these indices, in this order; everything else stays."""
        return replace(
            self,
            x=self.x[index],
            y=None if self.y is None else self.y[index],
            captions=None if self.captions is None else tuple(self.captions[i] for i in index.tolist()),
            numbers=None if self.numbers is None else self.numbers[index],
            groups=None if self.groups is None else self.groups[index],
        )


def blocks(x: np.ndarray, numbers: int = 1 << 22) -> Iterator[slice]:
    """Slices that cut `x` (n, *event) into runs of whole items, each of about `numbers` numbers."""
    step = max(1, numbers // max(1, math.prod(x.shape[1:])))
    return (slice(i, i + step) for i in range(0, len(x), step))


def as_labels(y: Any, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) of whole numbers or words as indices (n,) int64 and the names of the classes, in sorted order.

    Raises BadInput for another length or shape, missing values, and fractions, which are not classes.
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n,):
        raise BadInput(f"labels have shape {y.shape}, but there are {n} items: give one label per item")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise BadInput(f"{int((~np.isfinite(y)).sum())} labels are NaN or infinite: label these items or drop them")
        if (y != np.round(y)).any():
            raise BadInput(
                f"labels must be classes (whole numbers or words), not fractions such as {y[y != np.round(y)][0]:g}: "
                "to condition on a number, give it as numbers"
            )
        y = y.astype(np.int64)
    if y.dtype.kind not in "biuUSO":
        raise BadInput(f"labels must be whole numbers or words, not {y.dtype}")
    if y.dtype.kind in "SO":
        y = np.array([v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in y.tolist()])
    names, codes = np.unique(y, return_inverse=True)
    return codes.astype(np.int64), tuple(str(name) for name in names.tolist())


def first_copies(x: np.ndarray) -> np.ndarray:
    """For each item of `x` (n, *event) the index of the first item that is exactly equal to it, (n,) int64."""
    seen: dict[bytes, int] = {}
    rows = np.ascontiguousarray(x)
    return np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows)], np.int64)
