"""A reader: one kind of source, told apart and read. Every way into the library is one of these, in its own file."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftback.data.buckets import Buckets
from driftback.data.dataset import Dataset
from driftback.errors import BadInput


@dataclass(frozen=True)
class Alike:
    """Data that a model knows already: `columns` are matched by name, and `label` holds the classes, `caption` the
    sentences and `numbers` the numbers where they are there. Pictures go to its `buckets`, if it has any.

    Names that a reader made up (c0, c1, ...) match nothing, and then the columns count in the order that they have.
    """

    columns: tuple[str, ...] = ()
    label: str | None = None
    caption: str | None = None
    numbers: tuple[str, ...] = ()
    buckets: Buckets | None = None


@dataclass(frozen=True)
class Options:
    """What a person may ask of a reader, as in `driftback.data.load`; `label` names the part that holds classes,
    `caption` the one that holds sentences, `numbers` those that hold numbers to condition on, and `group` the one that
    tells which items are split together. `progress(done, all)` is called now and then.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    columns: tuple[str, ...] | None = None
    label: str | None = None
    n: int | None = None
    seed: int = 0
    alike: Alike | None = None
    aspect: str | None = None
    caption: str | None = None
    numbers: tuple[str, ...] | None = None
    progress: Callable[[int, int], None] | None = None
    group: str | None = None


@dataclass(frozen=True)
class Reader:
    """`accepts(source)` says whether `read(source, options)` is the way to read it; `what` says it to a person.

    `takes` names the options that the reader heeds; asking it for another is an error.
    """

    what: str
    accepts: Callable[[Any], bool]
    read: Callable[[Any, Options], Dataset]
    takes: frozenset[str] = frozenset()


def is_path(source: Any) -> bool:
    """Whether `source` is a path to something on this machine: a string or a path object."""
    return isinstance(source, (str, os.PathLike))


def suffix_of(path: Path) -> str:
    """The suffix in lower case, without a trailing .gz: ".csv" of "A.CSV.gz"."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def is_file(source: Any, *suffixes: str) -> bool:
    """Whether `source` is a path that ends in one of `suffixes` (or one of them and .gz) and is not a folder."""
    return is_path(source) and suffix_of(Path(source)) in suffixes and not Path(source).is_dir()


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The contents of a file, unpacked if its name ends in .gz, up to `most` bytes. Raises BadInput in one line."""
    out = bytearray()
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            # Piece by piece: one large read would reserve all the memory that a damaged header asks for.
            while piece := file.read(1 << 20 if most is None else min(1 << 20, most - len(out))):
                out += piece
            return bytes(out)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is not a complete gzip file ({error}): copy or download it again") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
