"""Judging by real items that do not fit the memory: a part of them for distances, all of them for copies.

A distance needs some thousand items, chosen by a seed. A copy is a copy of any training item, so all of them are gone
through, block by block, and the nearest few to each sample, held-out item, and to some training items are kept: with
those alone the ratio of the distances to the nearest two is the same as with all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from driftback.data.dataset import Dataset
from driftback.data.rows import Rows, blocks
from driftback.randomness import Rng

NUMBERS = 1 << 27
"""A part of the items has at most so many numbers: a gigabyte in float64."""
MOST_TRAIN, MOST_HELD = 10_000, 2_000
"""... and at most so many items."""
NEAREST = 4
"""Two are needed, besides an item itself; a fourth, for distances are told apart in float32 here."""
MOST_TYPICAL = 1_000
"""Training items that are compared with all the others."""


def part_of(items: Dataset, most: int, seed: int = 0, *, always: bool = False) -> Dataset:
    """`items`, or, where they lie on the disk (or `always`), at most `most` of them and `NUMBERS` numbers, in their
    order.
    """
    if not (always or isinstance(items.x, Rows)):
        return items
    count = max(1, min(most, len(items), NUMBERS // math.prod(items.event_shape)))
    chosen = Rng(seed).child("part").generator().choice(len(items), count, replace=False)
    some = items.take(np.sort(chosen))
    return replace(some, x=np.asarray(some.x))


def nearest(train: Dataset, encode: Callable[[np.ndarray], Tensor], items: Tensor) -> np.ndarray:
    """The indices of the `NEAREST` different items of `train` to each of `items` (m, d), in rising order, each once."""
    first = train.first_copies
    squares = items.square().sum(1)
    best_value = torch.full((len(items), NEAREST), math.inf)
    best_index = torch.full((len(items), NEAREST), -1)
    for part in blocks(train.x):
        index = np.arange(len(train))[part]
        index = index[first[index] == index]  # twins would hide what is second
        if not len(index):
            continue
        known = encode(train.x[index]).flatten(1)
        far = squares[:, None] + known.square().sum(1) - 2 * items @ known.T
        value = torch.cat([best_value, far], 1)
        place = torch.cat([best_index, torch.from_numpy(index).expand(len(items), -1)], 1)
        best_value, order = value.topk(NEAREST, largest=False)
        best_index = place.gather(1, order)
    return np.unique(best_index[best_index >= 0].numpy())
