"""Items that a model is shown: a data frame's columns are found by their names, and its labels where it has them."""

from __future__ import annotations

from typing import Any

from driftback.data import frames
from driftback.data.dataset import Dataset
from driftback.data.loading import load
from driftback.errors import BadInput
from driftback.recipes.config import Config


def shown(config: Config, x: Any, y: Any = None) -> tuple[Any, Any]:
    """`x` and its labels `y` as arrays (n, *event) and (n,), or as they came where they have no names.

    Raises BadInput for missing columns and for rows with missing values, of which every other reader would lose count.
    """
    if not (frames.accepts(x) or isinstance(x, Dataset)):
        return x, y
    found = load(x, alike=config.alike)
    if len(found) < len(x):
        missing = len(x) - len(found)
        raise BadInput(f"{missing} of the {len(x)} rows have missing values: fill them, or leave these rows out")
    if y is None and found.y is not None and config.class_counts:
        y = [found.classes[k] for k in found.y]
    if y is None and config.condition is not None:
        y = config.condition.beside(found)
    return found.x, y
