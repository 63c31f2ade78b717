"""Sums of Gaussian weights over many points in few dimensions, by a tree, with a bound on what that leaves out.

A node stands for its points where that is good enough, by the expansion of `driftback.distributions.hermite` about
their mean (Greengard and Strain 1991, 'The fast Gauss transform'; Gray and Moore 2003, 'Nonparametric density
estimation: toward computational tractability', for the pruning). Nodes are the cells of a quadtree: runs of points
sorted along Morton's curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from driftback.distributions.hermite import ORDER, expanded, left_out, moments

FEW = 8
"""A cell of so few points is not cut further: they are summed one by one."""
DIMENSIONS = 3
"""In more dimensions a cell has too many neighbours for a tree to pay."""
BLOCK = 512
"""So many queries are begun together."""
PAIRS = 1 << 16
"""About so many queries times nodes, or points, are looked at together: some 30 MiB."""
SHARE, MOST = 40, 1 << 19
"""A query that needs more nodes than 1 / 40 of the points, half the cost of looking at them all, or so many, is given
up."""
CELLS = 64
"""No cell with more than 1 / 64 of the points stands for them."""
FARTHEST = 600.0
"""Exponents are cut here, far beyond what can count and before they overflow."""
LOOSE = 10.0
"""A query whose bound is so many tolerances is given up, as is one whose exponents rounding changes by a tolerance."""

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Level:
    """The k cells of one size: first and end of their points, mean (k, d), moments about it (terms, k), radius, mean of
    |u|^(`ORDER` + 1) (`beyond`), and which cells of the next level are theirs; `whole` where they are not cut.
    """

    first: Index
    end: Index
    centre: Array
    moment: Array
    radius: Array
    beyond: Array
    whole: NDArray[np.bool_]
    below: Index
    below_end: Index


class Tree:
    """Points (m, d) float64, d <= `DIMENSIONS`, ready to be summed over."""

    def __init__(self, points: Array) -> None:
        m, d = points.shape
        low, extent = points.min(0), float(np.ptp(points, axis=0).max()) or 1.0
        bits = min(62 // d, 24)
        grid = np.minimum((points - low) * (2**bits / extent), 2**bits - 1).astype(np.uint64)
        codes = np.zeros(m, np.uint64)
        for bit in range(bits):
            for axis in range(d):
                codes |= ((grid[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(bit * d + axis)
        order = np.argsort(codes)
        self.points, codes = np.ascontiguousarray(points[order]), codes[order]
        self.neighbours = cKDTree(self.points)
        self.levels = self._cut(codes, bits, d)

    def _cut(self, codes: NDArray[np.uint64], bits: int, d: int) -> list[_Level]:
        edges: list[tuple[Index, Index]] = [(np.zeros(1, np.int64), np.full(1, len(codes), np.int64))]
        for depth in range(1, bits + 1):
            first, end = edges[-1]
            cut = end - first > FEW
            if not cut.any():
                break
            prefix = codes >> np.uint64(d * (bits - depth))
            starts = np.flatnonzero(np.concatenate([[True], prefix[1:] != prefix[:-1]]))
            # Only cells within those that are cut; cells nest, so a start belongs to the last cell that begins before.
            owner = np.searchsorted(first, starts, side="right") - 1
            inside = (owner >= 0) & cut[owner] & (starts < end[owner])
            ends = np.append(starts[1:], len(codes))
            edges.append((starts[inside], ends[inside]))
        edges.append((np.zeros(0, np.int64), np.zeros(0, np.int64)))
        return [self._level(*here, below[0]) for here, below in pairwise(edges)]

    def _level(self, first: Index, end: Index, below: Index) -> _Level:
        count = end - first
        rows = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
        at = np.concatenate([[0], np.cumsum(count)[:-1]])
        x = self.points[rows]
        centre = np.add.reduceat(x, at) / count[:, None]
        u = x - np.repeat(centre, count, axis=0)
        far = np.sqrt((u**2).sum(1))
        radius, beyond = np.maximum.reduceat(far, at), np.add.reduceat(prod([far] * (ORDER + 1)), at) / count
        start, stop = np.searchsorted(below, first), np.searchsorted(below, end)
        return _Level(first, end, centre, moments(u, at, count), radius, beyond, start == stop, start, stop)

    def mean(self, y: Array, precision: Array, tolerance: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """The mean of the points, weighted by exp(-|y - x|^2 precision / 2), for each of `y` (n, d) with its
        `precision` (n,) > 0: (n, d); a bound (n,) on how far it is off, of about `tolerance` / sqrt(precision); and
        which of `y` were given up, (n,), whose mean and bound say nothing: to look at every point is quicker.
        """
        parts = [slice(first, first + BLOCK) for first in range(0, len(y), BLOCK)]
        found = [self._block(y[rows], precision[rows], tolerance) for rows in parts]
        if not found:
            return y, precision, np.zeros(0, np.bool_)
        mean, bound, left = zip(*found, strict=True)
        return np.concatenate(mean), np.concatenate(bound), np.concatenate(left)

    def _block(self, y: Array, p: Array, tolerance: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        n, m = len(y), len(self.points)
        with np.errstate(over="ignore"):  # of a query very far away
            asked = _Asked(y, p, self.neighbours.query(y)[0], tolerance, m)
            lost = ~(8 * np.finfo(np.float64).eps * asked.top <= tolerance)
        spent, budget, begun = np.zeros(n), min(m / SHARE, MOST), np.flatnonzero(~lost)
        # Depth first, some queries at a time: what waits has not been unfolded into nodes.
        waiting: list[tuple[int, Index, Index, Index]] = [
            (0, begun, np.zeros(len(begun), np.int64), np.ones(len(begun), np.int64))
        ]
        while waiting and len(begun):
            depth, query, start, stop = waiting.pop()
            cut = _first(query, stop - start)
            if cut < len(query):
                waiting.append((depth, query[cut:], start[cut:], stop[cut:]))
            query, start, stop = query[:cut], start[:cut], stop[:cut]
            level, query, node = self.levels[depth], np.repeat(query, stop - start), _ranges(start, stop)
            query, node = asked.summed(level, query, node)
            single = level.whole[node]
            first, end = level.first[node], level.end[node]
            start, stop = level.below[node], level.below_end[node]
            # A point alone costs about half of what a node costs.
            spent += np.bincount(query, np.where(single, (end - first) / 2, stop - start), n)
            kept = spent[query] <= budget
            one, on = single & kept, ~single & kept
            self._each(asked, query[one], first[one], end[one])
            if on.any():
                waiting.append((depth + 1, query[on], start[on], stop[on]))
        mean, bound = asked.sums.result(y)
        return mean, bound, lost | (spent > budget) | ~(bound * p**0.5 <= LOOSE * tolerance)

    def _each(self, asked: _Asked, query: Index, first: Index, end: Index) -> None:
        while len(query):
            chunk = max(1, int(np.searchsorted(np.cumsum(end - first), PAIRS, side="right")))
            some, start, stop = query[:chunk], first[:chunk], end[:chunk]
            rows, points = np.repeat(some, stop - start), _ranges(start, stop)
            u, p = self.points[points] - asked.y[rows], asked.p
            weights = np.exp(np.clip(asked.top[rows] - p[rows] * (u**2).sum(1) / 2, -FARTHEST, FARTHEST))
            asked.sums.add(rows, weights, u * weights[:, None])
            query, first, end = query[chunk:], first[chunk:], end[chunk:]


class _Asked:
    """Queries `y` (n, d) of precisions `p` (n,), the distances `near` (n,) of their nearest points of `m`, how much of
    all weights they may be off by, and their sums so far.
    """

    def __init__(self, y: Array, p: Array, near: Array, tolerance: float, m: int) -> None:
        self.y, self.p, self.near, self.width = y, p, near, p**-0.5
        self.top = p * near**2 / 2  # minus the largest exponent
        self.sums, self.tolerance, self.m = _Sums(*y.shape), tolerance, m

    def summed(self, level: _Level, query: Index, node: Index) -> tuple[Index, Index]:
        """Add what nodes say for all of their points; give back those that are too wide for that."""
        n, sums = len(self.y), self.sums
        e, count = self.y[query] - level.centre[node], (level.end - level.first)[node]
        far, radius = np.sqrt((e**2).sum(1)), level.radius[node]
        surely = self._weight(query, far + radius)
        least = np.bincount(query, count * surely, n) + sums.total - sums.missed
        # A point may be off by a share of the mean weight, or of its own: together, of all weights.
        allowed = self.tolerance * np.maximum(np.maximum(least, 1.0)[query] / self.m, surely)
        # What is far away, or little, is left out, and counted as an error; it is one in full, unlike what is expanded.
        most = self._weight(query, np.maximum(far - radius, 0.0))
        reach = (far + radius + self.near[query] + self.width[query]) / self.width[query]
        out = most * reach <= allowed / 8
        sums.miss(query[out], (count * most)[out], (count * most * (far + radius))[out])
        rest = np.flatnonzero(~out)
        query, node, e = query[rest], node[rest], e[rest]
        count, far, radius = count[rest], far[rest], radius[rest]
        allowed, width = allowed[rest], self.width[query]
        with np.errstate(over="ignore"):  # of a cell that is too wide by far
            of_sum, of_mean = most[rest] * left_out((far + radius) / width, level.beyond[node] / width ** (ORDER + 1))
            error = of_sum * (1 + self.near[query] / width) + of_mean
        # Errors of many cells cancel, of few they need not: beside a score near 0 they would show.
        good = (error <= allowed / 2) & (count * CELLS <= self.m)
        mine, own = query[good], count[good] * self._weight(query[good], far[good])
        total, moved = expanded(e[good], self.p[mine], level.moment[:, node[good]])
        sums.add(mine, own * total, own[:, None] * moved)
        sums.miss(mine, count[good] * of_sum[good], count[good] * of_mean[good] * width[good])
        return query[~good], node[~good]

    def _weight(self, query: Index, distance: Array) -> Array:
        return np.exp(np.clip(self.top[query] - self.p[query] * distance**2 / 2, -FARTHEST, FARTHEST))


class _Sums:
    """Sums of weights, and of weights times x - y, for n queries, and how far each may be off."""

    def __init__(self, n: int, d: int) -> None:
        self.total, self.missed, self.missed_moved = np.zeros(n), np.zeros(n), np.zeros(n)
        self.moved = np.zeros((n, d))

    def add(self, query: Index, weights: Array, moved: Array) -> None:
        n = len(self.total)
        self.total += np.bincount(query, weights, n)
        for axis in range(moved.shape[1]):
            self.moved[:, axis] += np.bincount(query, moved[:, axis], n)

    def miss(self, query: Index, weights: Array, moved: Array) -> None:
        n = len(self.total)
        self.missed += np.bincount(query, weights, n)
        self.missed_moved += np.bincount(query, moved, n)

    def result(self, y: Array) -> tuple[Array, Array]:
        moved = self.moved / np.maximum(self.total, 1e-300)[:, None]
        sure = np.maximum(self.total - self.missed, 1e-300)
        return y + moved, (self.missed_moved + np.sqrt((moved**2).sum(1)) * self.missed) / sure


def _ranges(start: Index, stop: Index) -> Index:
    """All of start .. stop - 1, one range after the other."""
    count = stop - start
    before = np.concatenate([[0], np.cumsum(count)[:-1]]) if len(count) else count
    return np.repeat(start - before, count) + np.arange(count.sum())


def _first(query: Index, count: Index) -> int:
    """How many of the pairs of sorted queries and so many nodes are those of the first queries, of about `PAIRS`."""
    total = np.cumsum(count)
    if total[-1] <= PAIRS:
        return len(query)
    full = query[np.searchsorted(total, PAIRS)]
    return int(np.searchsorted(query, full)) or int(np.searchsorted(query, full, side="right"))
