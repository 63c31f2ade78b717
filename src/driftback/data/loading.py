"""One entrance for every source: find the reader that accepts it, or say what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftback.arguments import whole
from driftback.data import arrays, builtin, delimited, frames, idx, pictures
from driftback.data.beside import beside, fractions, names_in
from driftback.data.dataset import Dataset, as_labels
from driftback.data.reader import Alike, Options, Reader, is_path, suffix_of
from driftback.data.tables import aligned
from driftback.data.tree import SUFFIXES
from driftback.errors import BadInput
from driftback.randomness import Rng

DATASET = Reader("a data set of this library", lambda s: isinstance(s, Dataset), lambda s, options: s)
READERS: tuple[Reader, ...] = (
    DATASET,
    builtin.READER,
    arrays.ARRAY,
    frames.READER,
    arrays.FILE,
    delimited.READER,
    idx.READER,
    pictures.READER,
)
"""Every way in; a new kind of source joins by one file and one word here. The first that accepts a source reads it."""

SAVE_AS = {
    **dict.fromkeys((".parquet", ".feather", ".xlsx", ".xls", ".ods", ".json", ".jsonl"), ".csv"),
    **dict.fromkeys((".pt", ".pth", ".pkl", ".pickle", ".mat", ".h5", ".hdf5", ".safetensors"), ".npy or .npz"),
    **dict.fromkeys((".zip", ".tar", ".rar", ".7z", ".tgz"), "an unpacked folder"),
}


def load(
    source: Any,
    y: Any = None,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    aspect: str | None = None,
    columns: tuple[str, ...] | None = None,
    n: int | None = None,
    seed: int = 0,
    alike: Alike | None = None,
    caption: Any = None,
    numbers: Any = None,
    group: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The data behind `source`: a built-in name, an array, tensor, list or data frame, a file, or a folder of pictures.

    `y` gives labels (n,), or names the column (table) or the array (.npz) that holds them. `size`, one number or
    (height, width), and `channels`, 1, 3 or 4, are for folders of pictures; `aspect` says what becomes there of
    pictures of another aspect than `size`: "crop" (the default), "pad", "resize", or "bucket", which gives each the
    nearest of a few shapes of about that area. `columns` picks columns of a table by name, in this order. `n` is the
    number of points to draw from a built-in shape, and of items to keep, chosen by `seed`, from anything else. `alike`
    says what a model knows already: columns are then matched to its by name, others are left out, its label column is
    read where it is there, and pictures go to its buckets. `caption` gives a sentence per item (n,), or names
    what holds them (an array of an .npz, a column of a folder's metadata); `numbers` gives numbers to condition on,
    (n,) or (n, k), or names them; items with one value of `group`, (n,) or a name, stay on one side of a split. A `y`
    of fractions, as scikit-learn's regressors take it, is `numbers` too: classes are whole numbers or words.
    `progress(done, all)` is called while pictures are decoded. Raises BadInput, in one line, for everything that cannot
    be read.
    """
    n = None if n is None else whole(n, "n")
    options = Options(
        _size(size),
        channels,
        None if columns is None else tuple(columns),
        y if is_path(y) else None,
        n,
        seed,
        alike,
        aspect,
        caption if is_path(caption) else None,
        names_in(numbers),
        progress,
        group if is_path(group) else None,
    )
    source, reader = _find(source)
    _refuse_unheeded(reader, options)
    dataset = reader.read(source, options)
    if alike is not None and columns is None:
        dataset = aligned(dataset, alike)
    if y is not None and not is_path(y):
        if (told := fractions(y)) is not None and numbers is None:
            numbers = told
        else:
            codes, classes = as_labels(y.detach().cpu().numpy() if hasattr(y, "detach") else y, len(dataset))
            dataset = replace(dataset, y=codes, classes=classes)
    dataset = beside(
        dataset,
        caption=None if is_path(caption) else caption,
        numbers=None if options.numbers is not None else numbers,
        group=None if is_path(group) else group,
    )
    return dataset if n is None else _some(dataset, n, seed)


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise BadInput(f"size must be one number or (height, width), not {size}")
    height, width = (whole(side, "size") for side in sides)
    if not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise BadInput(f"size must be from 1 to 4096 pixels, not {height} x {width}")
    return height, width


def _find(source: Any) -> tuple[Any, Reader]:
    if is_path(source) and not builtin.accepts(source):
        source = Path(source).expanduser()
        try:
            exists = source.exists()
        except (OSError, ValueError) as error:
            raise BadInput(f"cannot read {str(source)!r}: {error}") from None
        if not exists:
            raise BadInput(_missing(source))
    reader = next((reader for reader in READERS if reader.accepts(source)), None)
    if reader is None:
        raise BadInput(_unreadable(source))
    return source, reader


def _unreadable(source: Any) -> str:
    suffix = suffix_of(source) if is_path(source) else ""
    if suffix in SUFFIXES:
        return f"{source} is one picture: give the folder that holds many of them, {source.parent.absolute()}"
    if suffix in SAVE_AS:
        return f"cannot read {source}: save it as {SAVE_AS[suffix]} and give that"
    shown = str(source) if is_path(source) else f"an object of type {type(source).__name__}"
    return f"cannot read {shown}: give {'; '.join(reader.what for reader in READERS)}"


def _missing(path: Path) -> str:
    parent = path.parent
    if path.suffix or len(path.parts) > 1:
        try:
            beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
        except OSError:
            beside = []
        near = difflib.get_close_matches(path.name, beside, 3, 0.7)
        hint = (
            f"did you mean {' or '.join(str(parent / name) for name in near)}?"
            if near
            else f"look in {parent.absolute()}"
        )
        if not parent.is_dir():
            hint = f"the folder {parent} does not exist either"
        return f"there is no file or folder {path}: {hint}"
    near = difflib.get_close_matches(builtin.plain(str(path)), builtin.names(), 3, 0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return (
        f"{str(path)!r} is no built-in name and no file or folder here: {hint}built in are {', '.join(builtin.names())}"
    )


HEEDED = {
    "size": "size",
    "channels": "channels",
    "aspect": "aspect",
    "columns": "columns",
    "label": "y as a name",
    "caption": "caption as a name",
    "numbers": "numbers as names",
    "group": "group as a name",
}
"""Options that only some readers heed, and what they are called."""


def _refuse_unheeded(reader: Reader, options: Options) -> None:
    for name, word in HEEDED.items():
        if getattr(options, name) is not None and name not in reader.takes:
            raise BadInput(f"{word} ({getattr(options, name)}) has no meaning for {reader.what}: leave it out")


def _some(dataset: Dataset, n: int, seed: int) -> Dataset:
    if not 1 <= n <= len(dataset):
        raise BadInput(f"n must be from 1 to the {len(dataset)} items of {dataset.name}, not {n}")
    if n == len(dataset):
        return dataset
    chosen = Rng(seed).child("subset").generator().choice(len(dataset), n, replace=False)
    return dataset.take(np.sort(chosen))
