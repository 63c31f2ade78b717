"""The classes of a model by name: those that are asked for, and, where none is, those that the data would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from driftback.data.dataset import as_labels
from driftback.errors import BadInput
from driftback.randomness import Rng

if TYPE_CHECKING:
    from driftback.recipes.config import Config

Label = int | str | Sequence[int] | Sequence[str] | np.ndarray | None


def uniform(n: int, seed: int, name: str) -> np.ndarray:
    """A number in [0, 1) for each of the `n` items of a seed, float64: what it is drawn by is the same for every n."""
    return Rng(seed).child(name).uniform((n,), dtype=torch.float64).numpy()


def drawn(config: Config, n: int, label: Label, seed: int) -> np.ndarray | None:
    """The class of each of `n` items, int64 (n,): `label`, or drawn as in the training data; None without classes."""
    if not config.class_counts:
        if label is not None:
            raise BadInput("this model knows no classes; fit it on labelled data (sub-folders, or y) to ask for one")
        return None
    if label is None:
        shares = np.cumsum(config.class_counts) / sum(config.class_counts)
        u = uniform(n, seed, "label")
        return np.minimum(np.searchsorted(shares, u, side="right"), len(shares) - 1).astype(np.int64)
    if isinstance(label, int | str | np.integer):
        return np.full(n, number(config, label))
    if len(label) != n:
        raise BadInput(f"{len(label)} labels were given for {n} items; give one label, or one per item")
    return np.array([number(config, one) for one in label], dtype=np.int64)


def number(config: Config, label: Any) -> int:
    """The number of the class called `label`. Raises BadInput with the classes and their counts."""
    classes = config.preprocessing.classes
    if str(label) in classes:
        return classes.index(str(label))
    known = ", ".join(f"{name} ({n})" for name, n in zip(classes, config.class_counts, strict=True))
    raise BadInput(f"there is no class '{label}'; the classes and their counts are: {known}")


def numbers(config: Config, y: Any, n: int) -> np.ndarray:
    """Labels (n,), by name or number, as class numbers int64 (n,). Raises BadInput for an unknown class."""
    if not config.class_counts:
        raise BadInput("this model knows no classes; leave the labels out")
    codes, names = as_labels(y, n)
    return np.array([number(config, name) for name in names], dtype=np.int64)[codes]
