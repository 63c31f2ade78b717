"""Rows: the items of an array that stays on the disk, of which only what is asked for comes into memory.

A memory map (n, *event) is seen through an index, so that a split, a subset or a shuffle of it moves no pixel. What was
read is given back to the system every `RESIDENT` bytes: it stays in the system's cache of the file, which makes room by
itself, and is not held by the process.
"""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

RESIDENT = 1 << 27
"""So many bytes are read before the pages are given back."""
SMALL = 1 << 26
"""Selections of at most so many bytes are arrays in memory: nothing is won by leaving them on the disk."""


class Rows:
    """The items `index` of `file` (N, *event), in that order; all of them where there is no index.

    It has the shape and the type of an array, gives arrays when asked by a slice, an index, or both for several axes,
    and turns into one with `np.asarray`, all at once.
    """

    def __init__(self, memory: mmap.mmap, file: np.ndarray, index: np.ndarray | None = None) -> None:
        self.memory, self.file, self.index, self._read = memory, file, index, 0

    @classmethod
    def of(cls, path: Path, shape: Sequence[int]) -> Self:
        """The items of a `.npy` file of bytes of this shape (n, *event). Raises OSError, ValueError for any other."""
        head = head_of(shape)
        with path.open("rb") as opened:
            if opened.read(len(head)) != head or path.stat().st_size != len(head) + math.prod(shape):
                raise ValueError(f"not a whole file of bytes of shape {tuple(shape)}")
            memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(memory, np.frombuffer(memory, np.uint8, math.prod(shape), len(head)).reshape(shape))

    def __len__(self) -> int:
        return len(self.file) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *event)."""
        return (len(self), *self.file.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """The type of a number."""
        return self.file.dtype

    @property
    def ndim(self) -> int:
        """The number of axes, that of the items among them."""
        return self.file.ndim

    @property
    def nbytes(self) -> int:
        """How many bytes all the items take."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        which = first if self.index is None else self.index[first]
        found = np.array(self.file[(which, *rest)])
        self._read += found.nbytes
        if self._read > RESIDENT:
            self._read = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                self.memory.madvise(mmap.MADV_DONTNEED)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(self.shape, dtype or self.dtype)
        for part in blocks(self):
            out[part] = self[part]
        return out

    def take(self, index: np.ndarray) -> np.ndarray | Self:
        """The items with these indices, in this order: an array where they are few, else rows again."""
        which = np.arange(len(self))[index] if self.index is None else self.index[index]
        chosen = type(self)(self.memory, self.file, which)
        return np.asarray(chosen) if chosen.nbytes <= SMALL else chosen

    def min(self, axis: int | None = None) -> Any:
        """The least number of all (no axis), or of each place of the event (axis 0)."""
        return np.min([self[part].min(axis) for part in blocks(self)], axis)

    def max(self, axis: int | None = None) -> Any:
        """The greatest number of all (no axis), or of each place of the event (axis 0)."""
        return np.max([self[part].max(axis) for part in blocks(self)], axis)


def head_of(shape: Sequence[int]) -> bytes:
    """How a `.npy` file of bytes of this shape begins; the length is the same for every number of items."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)})
    return out.getvalue()


Stack = np.ndarray | Rows
"""Items (n, *event), in memory or on the disk."""


def blocks(x: Stack, numbers: int = 1 << 22) -> Iterator[slice]:
    """Slices that cut `x` (n, *event) into runs of whole items, each of about `numbers` numbers."""
    step = max(1, numbers // max(1, math.prod(x.shape[1:])))
    return (slice(i, i + step) for i in range(0, len(x), step))
