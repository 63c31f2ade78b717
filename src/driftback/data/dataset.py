"""A person's data as it came: values in their own units and layout, with labels and with what was noticed on reading.

Readers make it, the doctor examines it, and the preprocessing turns it into tensors. Nothing here is scaled or moved.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from driftback.data.buckets import Buckets
from driftback.data.rows import Rows, Stack, blocks
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
    declares, and `density` the exact law that the items were drawn from, where there is one. `x` is an array, or `Rows`
    of a file where it is too large to be held in memory. `captions` has one text per item, and `numbers` (n, k) float64
    what else was asked for beside each item, under `number_names`.
    """

    x: Stack
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
    incomplete: int = 0
    """How many rows of the source were left out, for their missing values."""
    buckets: Buckets | None = None
    """The shapes that pictures have in the middle of their canvas; None where they fill it."""
    bucket: np.ndarray | None = None
    """Which of them each picture has, (n,) int64."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one item as it came."""
        return self.x.shape[1:]

    @property
    def shapes(self) -> np.ndarray | None:
        """The height and width of each picture in its bucket, (n, 2) int64; None without buckets."""
        return None if self.buckets is None or self.bucket is None else np.array(self.buckets.shapes)[self.bucket]

    def column(self, j: int) -> str:
        """What to call column `j` of a point in a message: its name in quotes, or its number."""
        return repr(self.columns[j]) if self.columns else str(j)

    def take(self, index: np.ndarray) -> Dataset:
        """The items with these indices, in this order; everything else stays."""
        captions, numbers, groups = self.captions, self.numbers, self.groups
        return replace(
            self,
            x=self.x.take(index) if isinstance(self.x, Rows) else self.x[index],
            y=None if self.y is None else self.y[index],
            captions=None if captions is None else tuple(captions[i] for i in np.arange(len(self))[index].tolist()),
            numbers=None if numbers is None else numbers[index],
            groups=None if groups is None else groups[index],
            bucket=None if self.bucket is None else self.bucket[index],
        )

    @cached_property
    def first_copies(self) -> np.ndarray:
        """For each item the index of the first item that is exactly equal to it, (n,) int64."""
        return first_copies(self.x)


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


RAW = 64
"""Items of at most so many bytes are compared as they are, larger ones by their digests."""


def first_copies(x: Stack) -> np.ndarray:
    """For each item of `x` (n, *event) the index of the first item that is exactly equal to it, (n,) int64.

    Large items are told apart by 128 bits of their SHA-256, so that no copy of the data is held; that two different
    ones share them is less likely than an error of the memory.
    """
    seen: dict[bytes, int] = {}
    raw = math.prod(x.shape[1:]) * x.dtype.itemsize <= RAW
    first = np.empty(len(x), np.int64)
    for part in blocks(x):
        for i, row in enumerate(np.ascontiguousarray(x[part]), part.start):
            key = row.tobytes() if raw else hashlib.sha256(row.data).digest()[:16]
            first[i] = seen.setdefault(key, i)
    return first
