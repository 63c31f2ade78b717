"""Gaussian weights of a cell's points, expanded about their mean in Hermite polynomials, and what is left out by that.

For a query y of precision p, e = y - c from the cell's mean c, u = x - c: exp(-p |e - u|^2 / 2) is exp(-p |e|^2 / 2)
times the sum over multi-indices a of u^a / a! h_a(e), h_k(e) = p^(k / 2) He_k(e sqrt(p)) (Greengard and Strain 1991,
'The fast Gauss transform', section 2), cut after |a| = `ORDER`. The sum of weights times x - y is its gradient over p.

What is left out is at most |v|^k / k! times the largest derivative of order k = `ORDER` + 1 on the way from c to x, v =
u sqrt(p); at distance rho a derivative of exp(-|z|^2 / 2), in any directions, is at most max |He_k| on [0, rho] times
exp(-rho^2 / 2). For the gradient it is one order more.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

ORDER = 4
BINS, LIMIT = 64, 8
"""The largest |He_k| is tabulated so often per unit, up to a limit; beyond, it is at most rho^k."""

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@cache
def _terms(d: int) -> list[tuple[int, ...]]:
    return [a for a in product(range(ORDER + 1), repeat=d) if sum(a) <= ORDER]


@cache
def _largest(k: int) -> Array:
    """max |He_k| on [0, rho] at rho = 0, 1 / `BINS`, ..., `LIMIT`."""
    fine = np.linspace(0, LIMIT, LIMIT * BINS * 16 + 1)
    return np.maximum.accumulate(np.abs(np.polynomial.hermite_e.HermiteE.basis(k)(fine)))[::16]


def moments(u: Array, at: Index, count: Index) -> Array:
    """The mean of u^a / a! in each cell, (terms, cells), for the offsets `u` (m, d) of points in cells that begin at
    `at` and hold `count`.
    """
    powers = [np.ones_like(u.T)]
    for k in range(ORDER):
        powers.append(powers[-1] * u.T / (k + 1))
    terms = _terms(u.shape[1])
    return np.stack([np.add.reduceat(prod(powers[k][axis] for axis, k in enumerate(a)), at) for a in terms]) / count


def expanded(e: Array, p: Array, moment: Array) -> tuple[Array, Array]:
    """The sum of weights, (n,), and of weights times x - y, (n, d), both per point and relative to exp(-p |e|^2 / 2),
    for queries at `e` (n, d) from cells with `moment` (terms, n).
    """
    n, d = e.shape
    h = np.empty((ORDER + 2, d, n))
    h[0], h[1] = 1.0, p * e.T
    for k in range(1, ORDER + 1):
        h[k + 1] = p * (e.T * h[k] - k * h[k - 1])
    total, moved = np.zeros(n), np.zeros((d, n))
    for row, a in zip(moment, _terms(d), strict=True):
        total += row * prod(h[k, axis] for axis, k in enumerate(a))
        for up in range(d):
            moved[up] += row * prod(h[k + (axis == up), axis] for axis, k in enumerate(a))
    return total, (moved / -p).T


def left_out(rho: Array, v: Array) -> tuple[Array, Array]:
    """At most so much of these two is left out, (n,), the second in units of 1 / sqrt(p), relative to the largest
    weight on the way: for queries at distance `rho` at most, where the mean of |v|^k is `v`.
    """
    k = ORDER + 1
    bins = np.minimum(np.ceil(rho * BINS), LIMIT * BINS).astype(np.int64)
    near, power = rho < LIMIT, prod([rho] * k)
    share = v / factorial(k)
    return share * np.where(near, _largest(k)[bins], power), share * np.where(near, _largest(k + 1)[bins], power * rho)
