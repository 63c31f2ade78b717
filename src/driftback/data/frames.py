"""Data frames: anything with named columns that turn into numpy arrays (pandas, polars), without importing either."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftback.data.dataset import Dataset
from driftback.data.reader import Options, Reader
from driftback.data.tables import TAKES, from_columns
from driftback.errors import BadInput


def accepts(source: Any) -> bool:
    """Whether `source` has columns by name and turns into an array."""
    return hasattr(source, "columns") and hasattr(source, "to_numpy")


def read(source: Any, options: Options) -> Dataset:
    """Points from the numeric columns, as from a .csv (see `tables.from_columns`); the index is not read."""
    labels = list(source.columns)
    names = [str(label) for label in labels]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadInput(f"the data frame has two columns named {twice!r}: rename one")
    return from_columns(names, [_values(source[label]) for label in labels], "the data frame", options)


def _values(column: Any) -> np.ndarray:
    numeric = getattr(column.dtype, "kind", "O") in "biuf"
    # A nullable integer column gives objects when a value is missing; as floats it gives NaN.
    values = np.asarray((column.astype("float64") if numeric and hasattr(column, "astype") else column).to_numpy())
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    try:
        return np.array(
            [np.nan if v is None else float(v) if not isinstance(v, str) else _no(v) for v in values.tolist()]
        )
    except (TypeError, ValueError):
        return np.array([str(v) for v in values.tolist()])


def _no(word: str) -> float:
    raise ValueError(word)


READER = Reader("a pandas or polars data frame", accepts, read, TAKES)
