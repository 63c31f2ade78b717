"""Held-out items: a fixed share that is never trained on, so that a likelihood and a verdict mean something.

scikit-learn's `train_test_split(test_size=.2, random_state=0, stratify=y)`, on distinct items: copies of an item stay
on one side, because an item that is also trained on cannot tell learning from memorising.
"""

from __future__ import annotations

import math

import numpy as np
from sklearn.model_selection import train_test_split

from driftback.data.dataset import Dataset
from driftback.data.grouped import grouped, groups_of, joined
from driftback.data.levels import distinct
from driftback.errors import BadInput

MOST_HELD_OUT = 10_000


def split(dataset: Dataset, held_out: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, held out) of `dataset`, a share `held_out` in [0, 1) of its items and at most 10,000.

    Stratified by class where every class has two items or more. Exact copies are kept together, save for points with
    few distinct values, where equal items are no copies but chance; copies beyond the 10,000 are on neither side.
    Where there are captions or groups, items that share one stay together instead (see `driftback.data.grouped`).
    Raises BadInput for fewer than two items.
    """
    if not 0 <= held_out < 1:
        raise BadInput(f"held_out is a share of the items from 0 up to (not including) 1, not {held_out:g}")
    everything = np.arange(len(dataset))
    if held_out == 0:
        return everything, everything[:0]
    if len(dataset) < 2:
        raise BadInput(f"{dataset.name} has {len(dataset)} item(s): at least 2 are needed to hold one out")
    first = everything if repeats_by_chance(dataset) else dataset.first_copies
    distinct_items = np.unique(first)
    if len(distinct_items) < 2:
        first = distinct_items = everything
    if (codes := groups_of(dataset)) is not None:
        most = min(math.ceil(held_out * len(dataset)), MOST_HELD_OUT, len(dataset) - 1)
        return grouped(joined(codes, first), most, seed)
    count = min(math.ceil(held_out * len(distinct_items)), MOST_HELD_OUT, len(distinct_items) - 1)
    y = None if dataset.y is None else dataset.y[distinct_items]
    train, held = train_test_split(distinct_items, test_size=count, random_state=seed, stratify=_strata(y, count))
    if len(distinct_items) == len(dataset):
        return train, held
    is_held = np.isin(first, held)
    held_with_copies = np.flatnonzero(is_held)
    return np.flatnonzero(~is_held), held if len(held_with_copies) > MOST_HELD_OUT else held_with_copies


def repeats_by_chance(dataset: Dataset) -> bool:
    """Whether equal items are no surprise: points that take few distinct values."""
    return dataset.kind == "points" and distinct(dataset.x) is not None


def _strata(y: np.ndarray | None, count: int) -> np.ndarray | None:
    if y is None:
        return None
    sizes = np.unique(y, return_counts=True)[1]
    possible = sizes.min() >= 2 and len(sizes) <= min(count, len(y) - count)
    return y if possible else None
