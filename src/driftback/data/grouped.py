"""A split that keeps groups together: items with one caption, or of one group, are all trained on or all held out.

A model that has seen a caption knows what belongs to it, so a held-out item judges it only if its caption is new.
Groups are taken in a random order, and held out as long as they fit into the share.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from driftback.data.dataset import Dataset
from driftback.randomness import Rng

FEW = 20
"""Fewer different captions than this are classes: to hold one out would take it away from the training."""


def groups_of(dataset: Dataset) -> np.ndarray | None:
    """Codes (n,) of what must stay together: the groups, else equal captions (in any case); None without either, and
    for so few captions that they are classes.

    Items without a caption are each on their own.
    """
    if dataset.groups is not None:
        return dataset.groups
    if dataset.captions is None:
        return None
    if len({said.lower() for said in dataset.captions}) < FEW:
        return None
    seen: dict[object, int] = {}
    return np.array(
        [seen.setdefault(said.lower() or (i,), len(seen)) for i, said in enumerate(dataset.captions)], np.int64
    )


def joined(codes: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Groups (n,) that keep both what shares a code and what is a copy of item `first[i]` together."""
    n = len(codes)
    _, representative = np.unique(codes, return_index=True)
    to = np.concatenate([representative[np.unique(codes, return_inverse=True)[1]], first])
    graph = coo_matrix((np.ones(2 * n, np.int8), (np.tile(np.arange(n), 2), to)), (n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def grouped(codes: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, held out), in rising order: about and never more than `count` items, but at least one group;
    none are held out where all items are one.
    """
    names, members, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return np.arange(len(codes)), np.arange(0)
    order = Rng(seed).child("groups").generator().permutation(len(names))
    held, left = np.zeros(len(names), bool), count
    for group in order.tolist():
        if sizes[group] <= left:
            held[group], left = True, left - int(sizes[group])
    if not held.any():
        held[order[int(sizes[order].argmin())]] = True
    return np.flatnonzero(~held[members]), np.flatnonzero(held[members])
