"""Rows: the items of an array that stays on the disk, of which only what is asked for comes into memory.

A memory map (n, *event) is seen through an index, so that a split, a subset or a shuffle of it moves no pixel. Runs are
read through the map, whose pages are given back to the system every `RESIDENT` bytes; single items are read by
themselves, because the system maps much of what lies around a page. What was read stays in the system's cache of the
file, which makes room by itself, and is not held by the process.
"""

from __future__ import annotations

import io
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from driftback.errors import BadInput

RESIDENT = 1 << 25
"""So many bytes are mapped before the pages are given back."""
SMALL = 1 << 26
"""Selections of at most so many bytes are arrays in memory: nothing is won by leaving them on the disk."""


class _File:
    """A file that is read item by item, and closed when nobody knows it any more."""

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.start = path, start
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.descriptor)

    def fill(self, out: np.ndarray, which: list[int]) -> None:
        """Read the items `which` into `out` (k, *event). Raises BadInput where the file ends before."""
        raw = out.reshape(-1).data
        size = len(raw) // max(1, len(which))
        for i, k in enumerate(which):
            if os.preadv(self.descriptor, [raw[i * size : (i + 1) * size]], self.start + k * size) != size:
                raise BadInput(f"{self.path} was cut short while it was read: start again, it will be made anew")


class Rows:
    """The items `index` of `file` (N, *event), in that order; all of them where there is no index.

    It has the shape and the type of an array, gives arrays when asked by a slice, an index, or both for several axes,
    and turns into one with `np.asarray`, all at once.
    """

    def __init__(self, memory: mmap.mmap, mapped: np.ndarray, file: _File, index: np.ndarray | None = None) -> None:
        self.memory, self.mapped, self.file, self.index, self._read = memory, mapped, file, index, 0

    @classmethod
    def of(cls, path: Path, shape: Sequence[int]) -> Self:
        """The items of a `.npy` file of bytes of this shape (n, *event). Raises OSError, ValueError for any other."""
        head = head_of(shape)
        with path.open("rb") as opened:
            if opened.read(len(head)) != head or path.stat().st_size != len(head) + math.prod(shape):
                raise ValueError(f"not a whole file of bytes of shape {tuple(shape)}")
            memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        mapped = np.frombuffer(memory, np.uint8, math.prod(shape), len(head)).reshape(shape)
        return cls(memory, mapped, _File(path, len(head)))

    def __len__(self) -> int:
        return len(self.mapped) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *event)."""
        return (len(self), *self.mapped.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """The type of a number."""
        return self.mapped.dtype

    @property
    def ndim(self) -> int:
        """The number of axes, that of the items among them."""
        return self.mapped.ndim

    @property
    def nbytes(self) -> int:
        """How many bytes all the items take."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if self.index is None and not isinstance(first, np.ndarray):
            found = np.array(self.mapped[(first, *rest)])
            self._read += found.nbytes
            if self._read > RESIDENT:
                self._read = 0
                if hasattr(mmap, "MADV_DONTNEED"):
                    self.memory.madvise(mmap.MADV_DONTNEED)
            return found
        which = np.arange(len(self))[first] if self.index is None else self.index[first]
        found = np.empty((which.size, *self.shape[1:]), self.dtype)
        self.file.fill(found, which.reshape(-1).tolist())
        found = found if which.ndim else found[0]
        return found[(slice(None),) * which.ndim + tuple(rest)] if rest else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(self.shape, dtype or self.dtype)
        for part in blocks(self):
            out[part] = self[part]
        return out

    def take(self, index: np.ndarray) -> np.ndarray | Self:
        """The items with these indices, in this order: an array where they are few, else rows again."""
        which = np.arange(len(self))[index] if self.index is None else self.index[index]
        chosen = type(self)(self.memory, self.mapped, self.file, which)
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


def as_stack(x: Any) -> Stack:
    """Items as an array, or as rows where they are. BadInput for lists whose items have different lengths."""
    if isinstance(x, Rows):
        return x
    try:
        return np.asarray(x)
    except ValueError:
        raise BadInput("the items have different lengths, and would be no array: give them all one shape") from None


def blocks(x: Stack, numbers: int = 1 << 22) -> Iterator[slice]:
    """Slices that cut `x` (n, *event) into runs of whole items, each of about `numbers` numbers."""
    step = max(1, numbers // max(1, math.prod(x.shape[1:])))
    return (slice(i, i + step) for i in range(0, len(x), step))
