"""Sums of Gaussian weights over many points in few dimensions, by a tree, with a bound on what that leaves out.

A node stands for its points where that is good enough: with u = x - c about their mean c and e = y - c, exp(-|y - x|^2
p / 2) = W exp(p e.u - p |u|^2 / 2), W = exp(-p |e|^2 / 2), and to second order in u the sum over a node is W n (1 + p^2
e^T M e / 2 - p tr M / 2), M the mean of u u^T (Greengard and Strain 1991, 'The fast Gauss transform'; Gray and Moore
2003, 'Nonparametric density estimation: toward computational tractability', for the pruning). Nodes are the cells of a
quadtree: runs of points sorted along Morton's curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FEW = 8
"""A cell of so few points is not cut further: they are summed one by one."""
DIMENSIONS = 6
"""In more dimensions a cell has too many neighbours for a tree to pay."""
PAIRS = 1 << 21
"""About so many queries times nodes are looked at together: some hundred MiB."""
FARTHEST = 600.0
"""Exponents are cut here, far beyond what can count and before they overflow."""

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Level:
    """The cells of one size: first and end of their points, mean (k, d), M (k, d, d), radius about the mean, and which
    cells of the next level are theirs; `whole` where they are not cut.
    """

    first: Index
    end: Index
    centre: Array
    moment: Array
    radius: Array
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
        moment = np.stack([np.add.reduceat(u * u[:, [k]], at) / count[:, None] for k in range(x.shape[1])], 1)
        radius = np.sqrt(np.maximum.reduceat((u**2).sum(1), at))
        start, stop = np.searchsorted(below, first), np.searchsorted(below, end)
        return _Level(first, end, centre, moment, radius, start == stop, start, stop)

    def mean(self, y: Array, precision: Array, tolerance: float) -> tuple[Array, Array]:
        """The mean of the points, weighted by exp(-|y - x|^2 precision / 2), for each of `y` (n, d) with its
        `precision` (n,) > 0: (n, d), and a bound (n,) on how far it is off, of about `tolerance` / sqrt(precision).
        """
        found = [self._block(y[rows], precision[rows], tolerance) for rows in _blocks(len(y))]
        return np.concatenate([mean for mean, _ in found]), np.concatenate([bound for _, bound in found])

    def _block(self, y: Array, p: Array, tolerance: float) -> tuple[Array, Array]:
        n, m = len(y), len(self.points)
        sums = _Sums(n, y.shape[1])
        near, width = self.neighbours.query(y)[0], p**-0.5
        top = p * near**2 / 2  # minus the largest exponent
        query, node = np.arange(n), np.zeros(n, np.int64)
        for level in self.levels:
            if not len(query):
                break
            e, count = y[query] - level.centre[node], (level.end - level.first)[node]
            far, radius, sharp = np.sqrt((e**2).sum(1)), level.radius[node], p[query]

            def weight(distance: Array, sharp: Array = sharp, query: Index = query) -> Array:
                return np.exp(np.clip(top[query] - sharp * distance**2 / 2, -FARTHEST, FARTHEST))

            least = np.bincount(query, count * weight(far + radius), n) + sums.total - sums.missed
            allowed = tolerance * np.maximum(least, 1.0)[query] / m
            # What is far away, or little, is left out, and counted as an error.
            most = weight(np.maximum(far - radius, 0.0))
            reach = (far + radius + near[query] + width[query]) / width[query]
            out = most * reach <= allowed / 2
            sums.miss(query[out], (count * most)[out], (count * most * (far + radius))[out])
            # |p e.u| <= b and p |u|^2 / 2 <= g: what the terms beyond the second can be, times W.
            b, g, own = sharp * far * radius, sharp * radius**2 / 2, weight(far)
            a = b + g
            beyond = np.exp(np.clip(top[query] - sharp * far**2 / 2 + a, -FARTHEST, FARTHEST))
            of_sum = beyond * a**3 / 6 + own * (g**2 / 2 + b * g)
            of_mean = radius * (beyond * a**2 / 2 + own * g)
            error = (of_sum * (far + near[query] + width[query]) + of_mean) / width[query]
            good = ~out & (error <= allowed / 2)
            sums.expand(query[good], e[good], (count * own)[good], level.moment[node[good]], sharp[good])
            sums.miss(query[good], (count * of_sum)[good], (count * (of_sum * far + of_mean))[good])
            single = ~out & ~good & level.whole[node]
            self._each(sums, y, p, top, query[single], level.first[node[single]], level.end[node[single]])
            rest = ~out & ~good & ~single
            start, stop = level.below[node[rest]], level.below_end[node[rest]]
            query, node = np.repeat(query[rest], stop - start), _ranges(start, stop)
        return sums.result(y)

    def _each(self, sums: _Sums, y: Array, p: Array, top: Array, query: Index, first: Index, end: Index) -> None:
        rows, points = np.repeat(query, end - first), _ranges(first, end)
        u = self.points[points] - y[rows]
        weights = np.exp(np.clip(top[rows] - p[rows] * (u**2).sum(1) / 2, -FARTHEST, FARTHEST))
        sums.add(rows, weights, u * weights[:, None])


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

    def expand(self, query: Index, e: Array, weights: Array, moment: Array, p: Array) -> None:
        across = np.einsum("nij,nj->ni", moment, e)
        share = 1 + p**2 * (across * e).sum(1) / 2 - p * np.trace(moment, axis1=1, axis2=2) / 2
        total = weights * share
        self.add(query, total, weights[:, None] * p[:, None] * across - total[:, None] * e)

    def result(self, y: Array) -> tuple[Array, Array]:
        moved = self.moved / self.total[:, None]
        sure = np.maximum(self.total - self.missed, 1e-300)
        return y + moved, (self.missed_moved + np.sqrt((moved**2).sum(1)) * self.missed) / sure


def _ranges(start: Index, stop: Index) -> Index:
    """All of start .. stop - 1, one range after the other."""
    count = stop - start
    before = np.concatenate([[0], np.cumsum(count)[:-1]]) if len(count) else count
    return np.repeat(start - before, count) + np.arange(count.sum())


def _blocks(n: int) -> list[slice]:
    size = max(1, PAIRS // 4096)
    return [slice(first, first + size) for first in range(0, n, size)]
