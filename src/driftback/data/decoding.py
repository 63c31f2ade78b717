"""Many picture files to pixels of one shape: in parallel, block by block, into memory or straight onto the disk."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from driftback.data.buckets import Buckets, Size, middle
from driftback.data.cache import Building
from driftback.data.picture import Fit, crop, decode

BLOCK = 16 << 20
"""So many bytes are decoded before they are put away."""
AT_ONCE = 4096
"""Files that wait in the pool at once."""

Found = TypeVar("Found")
Failed = list[tuple[Path, str]]
"""Files that cannot be decoded, each with the reason in a few words."""


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """As many threads as there are cores, in which Pillow keeps quiet: what matters of its warnings is counted."""
    # Filters are set outside the threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield pool


def each(pool: ThreadPoolExecutor, act: Callable[[Path], Found], files: Sequence[Path]) -> list[Found]:
    """`act` of every file, in their order."""
    parts = (files[i : i + AT_ONCE] for i in range(0, len(files), AT_ONCE))
    return [found for part in parts for found in pool.map(act, part)]


@dataclass(frozen=True)
class Work:
    """Files that are to become pictures of `size` (height, width) with `channels` channels.

    With `buckets`, whose canvas `size` then is, each fills the one that `bucket` says for its file.
    """

    files: Sequence[Path]
    size: Size
    channels: int
    fit: Fit = crop
    buckets: Buckets | None = None
    bucket: Sequence[int] = ()
    progress: Callable[[int, int], None] | None = None
    """Called with the number of files that were decoded, and of all."""

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of a picture: (h, w) or (h, w, channels)."""
        return self.size if self.channels == 1 else (*self.size, self.channels)

    @property
    def nbytes(self) -> int:
        """The bytes of all pictures."""
        return len(self.files) * math.prod(self.event)

    def placed(self, files: Sequence[Path]) -> tuple[int, ...]:
        """Which bucket each of some of the files is in; nothing where there are none."""
        of = dict(zip(self.files, self.bucket, strict=False))
        return tuple(of[file] for file in files) if self.buckets is not None else ()

    def spoilt(self, failed: Failed) -> bool:
        """Whether buckets were chosen, and counted, with files that `failed`: then all is to be done without these."""
        return self.buckets is not None and bool(failed)

    def in_memory(self, pool: ThreadPoolExecutor) -> tuple[np.ndarray, list[Path], Failed]:
        """The pictures (n, *event) uint8, their files, and those that cannot be decoded."""
        x, files, failed = np.empty((len(self.files), *self.event), np.uint8), list[Path](), Failed()
        for part in self._parts(pool, files, failed):
            x[len(files) - len(part) : len(files)] = part
        return x[: len(files)], files, failed

    def onto_disk(self, pool: ThreadPoolExecutor, building: Building) -> tuple[list[Path], Failed]:
        """The same into `building`. Raises OSError where there is no room."""
        files, failed = list[Path](), Failed()
        for part in self._parts(pool, files, failed):
            building.add(part)
        return files, failed

    def _parts(self, pool: ThreadPoolExecutor, files: list[Path], failed: Failed) -> Iterator[np.ndarray]:
        """The pictures, block by block; when a block comes, its files stand in the two lists."""
        step = max(1, BLOCK // math.prod(self.event))
        for i in range(0, len(self.files), step):
            some = self.files[i : i + step]
            x = np.full((len(some), *self.event), 0 if self.buckets is None else self.buckets.ground, np.uint8)
            shapes = [self.size] * len(some)
            if self.buckets is not None:
                shapes = [self.buckets.shapes[k] for k in self.bucket[i : i + step]]
            why = list(pool.map(self._decode, some, x, shapes))
            failed += [(file, reason) for file, reason in zip(some, why, strict=True) if reason is not None]
            files += [file for file, reason in zip(some, why, strict=True) if reason is None]
            if self.progress:
                self.progress(len(files) + len(failed), len(self.files))
            yield x[[reason is None for reason in why]] if any(why) else x

    def _decode(self, file: Path, canvas: np.ndarray, shape: Size) -> str | None:
        return decode(file, canvas[middle(self.size, shape)], shape, self.channels, self.fit)
