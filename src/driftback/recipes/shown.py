"""Items that a model is shown: a data frame's columns are found by their names, and its labels where it has them."""

from __future__ import annotations

from typing import Any

from driftback.data import frames
from driftback.data.dataset import Dataset
from driftback.data.loading import load
from driftback.errors import BadInput
from driftback.recipes.config import Config


def refuse_incomplete(found: Dataset) -> None:
    """Raise BadInput where rows of `found` were left out on reading: the numbers of the others would not be theirs."""
    if found.incomplete:
        rows = len(found) + found.incomplete
        raise BadInput(f"{found.incomplete} of the {rows} rows have missing values: fill them, or leave these rows out")


def shown(config: Config, x: Any, y: Any = None) -> tuple[Any, Any]:
    """`x` and its labels `y` as arrays (n, *event) and (n,), or as they came where they have no names.

    Raises BadInput for missing columns and for rows with missing values, of which every other reader would lose count.
    """
    if not (frames.accepts(x) or isinstance(x, Dataset)):
        return x, y
    found = load(x, alike=config.alike)
    if not isinstance(x, Dataset):
        refuse_incomplete(found)
    if y is None and found.y is not None and config.class_counts:
        y = [found.classes[k] for k in found.y]
    if y is None and config.condition is not None:
        y = config.condition.beside(found)
    return found.x, y
