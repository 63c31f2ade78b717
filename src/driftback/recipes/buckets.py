"""The shapes of a model's pictures: drawn as in training, asked for, or those of known items, and told to the network.

A network with buckets reads, behind the numbers of what augmentation did to an item, a 1 for the bucket that the item
is in (`driftback.networks.embedding.Conditioning`): in training, when it draws, and when it is asked for a likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.data.buckets import named
from driftback.data.dataset import Dataset
from driftback.data.rows import Stack, blocks
from driftback.errors import BadInput
from driftback.recipes.classes import uniform
from driftback.training.augment import numbers as augmented

if TYPE_CHECKING:
    from driftback.recipes.config import Config

Shape = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | None
"""(height, width) for all items, or one for each, (n, 2); None where nothing is said."""


def numbers(config: Config) -> int:
    """How many numbers a network is told of what was done to an item: by augmentation, and by which bucket it is in."""
    buckets = config.preprocessing.buckets
    return augmented(config.plan.augment) + (0 if buckets is None else len(buckets.shapes))


def done(dataset: Dataset) -> Tensor | None:
    """A 1 for the bucket of each item of `dataset`, (n, buckets) float32; None where it has none."""
    buckets, bucket = dataset.buckets, dataset.bucket
    return None if buckets is None or bucket is None else buckets.told(bucket)


def counted(dataset: Dataset, classes: int) -> tuple[tuple[int, ...], ...]:
    """How many items of each class are in each bucket, a row per class, or one for all; () without buckets."""
    if dataset.buckets is None or dataset.bucket is None:
        return ()
    rows = dataset.y if classes and dataset.y is not None else np.zeros(len(dataset), np.int64)
    table = np.zeros((max(1, classes), len(dataset.buckets.shapes)), np.int64)
    np.add.at(table, (rows, dataset.bucket), 1)
    return tuple(tuple(row) for row in table.tolist())


def by_name(config: Config) -> dict[str, int]:
    """The buckets as they can be asked for, 24x40, with the numbers of their training pictures."""
    buckets = config.preprocessing.buckets
    if buckets is None:
        return {}
    counts = np.array(config.bucket_counts).sum(0).tolist()
    return dict(zip(map(named, buckets.shapes), counts, strict=True))


def said(config: Config) -> list[str]:
    """A line on the buckets for the person who waits for a training, or none."""
    listed = ", ".join(f"{name} ({count})" for name, count in by_name(config).items())
    canvas = " x ".join(map(str, config.preprocessing.event[:2]))
    return [f"buckets, with training pictures: {listed}, on a canvas of {canvas}"] if listed else []


def drawn(config: Config, n: int, shape: Shape, seed: int, classes: np.ndarray | None) -> np.ndarray | None:
    """The bucket of each of the `n` items of a seed, (n,) int64: that of `shape`, or drawn with the shares of the
    training items, for items of `classes` (n,) with those of their class; None for a model without buckets.
    """
    if config.preprocessing.buckets is None or shape is not None:
        return asked(config, shape, n)
    table = np.array(config.bucket_counts, np.float64)
    table[table.sum(1) == 0] = table.sum(0)
    shares = table.cumsum(1) / table.sum(1, keepdims=True)
    rows = shares[np.zeros(n, np.int64) if classes is None or len(table) == 1 else classes]
    found = (uniform(n, seed, "bucket")[:, None] >= rows).sum(1)
    return np.minimum(found, rows.shape[1] - 1)


def asked(config: Config, shape: Shape, n: int) -> np.ndarray | None:
    """The buckets of these shapes, (n,) int64; None where nothing is asked. Raises BadInput for unknown ones."""
    buckets = config.preprocessing.buckets
    if shape is None:
        return None
    if buckets is None:
        raise BadInput("all that this model draws has one shape; to ask for one, fit pictures with --aspect bucket")
    try:
        sizes = np.broadcast_to(np.asarray(shape), (n, 2))
    except ValueError:
        sizes = np.empty(0)
    if sizes.dtype.kind not in "iu":
        raise BadInput(f"a shape is (height, width), or one for each of {n} items, not {shape!r}")
    codes = {one: k for k, one in enumerate(buckets.shapes)}
    strange = [one for one in map(tuple, sizes.tolist()) if one not in codes]
    if strange:
        known = ", ".join(f"{name} ({count})" for name, count in by_name(config).items())
        raise BadInput(f"there is no bucket {'x'.join(map(str, strange[0]))}; known, with training pictures: {known}")
    return np.array([codes[one] for one in map(tuple, sizes.tolist())], np.int64)


def of_items(config: Config, x: Stack, shape: Shape) -> np.ndarray | None:
    """The buckets of known items `x` (n, *event), (n,) int64: those of `shape`, else the smallest that each fits into;
    None for a model without. Raises BadInput for what is in none.
    """
    buckets = config.preprocessing.buckets
    if shape is not None or buckets is None:
        return asked(config, shape, len(x))
    found = [buckets.seen(np.asarray(x[part]), part.start) for part in blocks(x)]
    return np.concatenate(found or [np.empty(0, np.int64)])


def told(config: Config, bucket: np.ndarray | None, device: torch.device | str = "cpu") -> Tensor | None:
    """What the network is told of items in `bucket` (n,), to which augmentation did nothing, (n, numbers)."""
    buckets = config.preprocessing.buckets
    return None if bucket is None or buckets is None else padded(config, buckets.told(bucket), device)


def padded(config: Config, done: Tensor | None, device: torch.device | str) -> Tensor | None:
    """What was done to items before training (n, buckets), with 0 for all that augmentation did not do to them."""
    return None if done is None else F.pad(done, (augmented(config.plan.augment), 0)).to(device)
