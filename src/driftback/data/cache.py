"""Decoded pictures are kept on the disk, so that a folder is decoded once, and need not fit the memory.

One folder per set, `~/.cache/driftback/pictures/HASH`, holds `pixels.npy` (n, *event) uint8, which is memory-mapped,
and `index.json`: which files these are, what was noticed, and a checksum of both. HASH covers all that decides the
pixels: name, size, times and inode of every file, the options, and the decoder's version. A file changed in place has
another time of change, which nobody can set back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from driftback.data.buckets import Buckets
from driftback.data.dataset import Finding
from driftback.data.rows import Rows, Stack, blocks, head_of

VERSION = 2
"""Raised whenever the same file would be decoded to other pixels, or is kept in another form."""
MOST = 64 << 30
"""All sets together take at most so many bytes: those that were used longest ago go first, the newest stays."""
PIXELS, INDEX, PART = "pixels.npy", "index.json", ".part"


@dataclass(frozen=True)
class Decoded:
    """Pictures `x` (n, *event) uint8, the files that they were read from, relative to their folder, and findings;
    `bucket` says which of `buckets` each is in, where they have any.
    """

    x: Stack
    files: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    buckets: Buckets | None = None
    bucket: tuple[int, ...] = ()


def home() -> Path:
    """Where decoded pictures are kept; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftback" / "pictures"


def key(folder: Path, files: Iterable[Path], options: object) -> str:
    """The hash of what decides the pixels of `files` below `folder`, 32 hexadecimal digits."""
    digest = hashlib.sha256(repr((VERSION, PIL.__version__, options)).encode())
    for file in files:
        digest.update(os.fsencode(file.relative_to(folder)) + b"\0")
        with suppress(OSError):
            seen = file.stat()
            facts = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino % (1 << 63))
            digest.update(struct.pack("<4q", *facts))
    return digest.hexdigest()[:32]


def find(name: str) -> Decoded | None:
    """What is kept under `name`, a `key`; None where nothing is, or where it is damaged, and then it is deleted."""
    folder = home() / name
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        about = record["about"]
        rows = Rows.of(folder / PIXELS, about["shape"])
        kept = Decoded(rows, tuple(about["files"]), tuple(_finding(found) for found in about["findings"]))
        if "buckets" in about:
            kept = replace(kept, buckets=Buckets.model_validate(about["buckets"]), bucket=tuple(about["bucket"]))
        whole = record["checksum"] == _checksum(about, (rows[part] for part in blocks(rows)))
        if not whole or len(rows) != len(kept.files):
            raise ValueError("not what was written")
        with suppress(OSError):  # the time of last use
            os.utime(folder / INDEX)
        return kept
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        with suppress(OSError):
            shutil.rmtree(folder)
        return None


class Building:
    """A set that is being written: `add` takes the pictures in their order."""

    def __init__(self, file: BinaryIO, event: tuple[int, ...]) -> None:
        self.file, self.event, self.count, self.sum, self.index = file, event, 0, 0, ""
        self.file.write(head_of((0, *event)))

    def add(self, x: np.ndarray) -> None:
        """Write pictures (k, *event) uint8. Raises OSError where there is no room."""
        raw = np.ascontiguousarray(x).reshape(-1).data
        self.file.write(raw)
        self.sum = zlib.crc32(raw, self.sum)
        self.count += len(x)

    def finish(
        self,
        files: Sequence[str],
        findings: Sequence[Finding],
        buckets: Buckets | None = None,
        bucket: Sequence[int] = (),
    ) -> None:
        """Complete the pixels, and say whose they are, and in which bucket each is: only a set that is finished is
        kept.
        """
        shape = (self.count, *self.event)
        self.file.seek(0)
        self.file.write(head_of(shape))
        self.file.flush()
        os.fsync(self.file.fileno())
        about: dict = {"shape": shape, "files": list(files), "findings": [asdict(found) for found in findings]}
        if buckets is not None:
            about |= {"buckets": buckets.model_dump(mode="json"), "bucket": list(bucket)}
        self.index = json.dumps({"about": about, "checksum": _sealed(about, self.sum)})


@contextmanager
def building(name: str, event: tuple[int, ...], size: int) -> Iterator[Building]:
    """A set of about `size` bytes to be written under `name`; it is there when it was finished, or not at all.

    Raises OSError where the place cannot be written to, or has no room.
    """
    place = home()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)  # other people's pictures are nobody's business
    make_room(size)
    free = shutil.disk_usage(place).free
    if size > 0.95 * free:
        raise OSError(f"{size >> 20:,} MB are needed and {free >> 20:,} MB are free there")
    part = place / f"{name}.{os.getpid()}.{time.monotonic_ns()}{PART}"
    part.mkdir()
    # The system takes the lock back when this process ends, however it ends: what is not locked is left over.
    lock = os.open(part, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (part / PIXELS).open("wb") as file:
            built = Building(file, event)
            yield built
        if not built.index:
            return
        with (part / INDEX).open("w", encoding="utf-8") as index:
            index.write(built.index)
            index.flush()
            os.fsync(index.fileno())
        with suppress(OSError):  # somebody else was faster: it is the same set
            part.rename(place / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def make_room(size: int) -> None:
    """Delete what a kill left over, and, until `size` more bytes are within `MOST`, what was used longest ago."""
    for part in home().glob(f"*{PART}"):
        if _left_over(part):
            shutil.rmtree(part, ignore_errors=True)
    kept = sorted(sets(), key=lambda each: each[2])
    total = sum(taken for _, taken, _ in kept)
    for folder, taken, _ in kept:
        if total + size <= MOST:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= taken


def sets() -> list[tuple[Path, int, float]]:
    """What is kept: the folder, its bytes, and when it was last used."""
    found = []
    for index in home().glob(f"*/{INDEX}"):
        with suppress(OSError):
            taken = sum(file.stat().st_size for file in index.parent.iterdir())
            if index.parent.suffix != PART:
                found.append((index.parent, taken, index.stat().st_mtime))
    return found


def _left_over(part: Path) -> bool:
    try:
        lock = os.open(part, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def _finding(record: dict) -> Finding:
    return Finding(record["level"], record["what"], record["count"], tuple(record["files"]))


def _checksum(about: dict, parts: Iterable[np.ndarray]) -> str:
    total = 0
    for part in parts:
        total = zlib.crc32(part.reshape(-1).data, total)
    return _sealed(about, total)


def _sealed(about: dict, pixels: int) -> str:
    return hashlib.sha256(f"{json.dumps(about)} {pixels}".encode()).hexdigest()
