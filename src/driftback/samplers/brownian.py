"""One Brownian path per item and seed, whatever the steps: noise that belongs to times, not to the numbers of steps.

A step from clock c to clock c' is given z = (W(c') - W(c)) / sqrt(|c' - c|). The path W is fixed by the seed: its
increments over the cells of a lattice are drawn first, and points inside a cell are filled in by halving it: given its
ends a and b, W at m = a + u (b - a) is N(W_a + u (W_b - W_a), u (1 - u) (b - a)) (Lévy 1948; compare the Brownian tree
of Li et al. 2020, arXiv 2001.01328, section 4). A cell that has been halved `DEPTH` times holds one more point by the
same rule. So along each grid the z are exactly independent, and two grids, say of 50 and of 100 steps, see one path up
to what is finer than those cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng

DEPTH = 3
"""How often a cell is halved at least before a point is placed in it."""
DEEPEST = 50
"""Points that a cell halved so often still holds together are one point to rounding."""
_LOWEST, _OFFSET = -64, 1 << 32


@dataclass(frozen=True)
class Lattice:
    """Cell j of a clock reaches from `edge(j)` to `edge(j + 1)`; `place`, the inverse of `edge`, tells the cell."""

    edge: Callable[[float], float]
    place: Callable[[float], float]


EQUAL = Lattice(lambda j: j / 32, lambda clock: clock * 32)
"""Cells of 1/32, for the times of an SDE."""
LOGARITHMIC = Lattice(
    lambda j: math.exp(j) if j > _LOWEST else 0.0,
    lambda clock: math.log(clock) if clock > math.exp(_LOWEST) else float(_LOWEST),
)
"""Cells whose ends differ by the factor e, for the signal-to-noise ratio as the clock; one cell from 0 to e^-63."""


def increments(
    clocks: Sequence[float],
    shape: Sequence[int],
    lattice: Lattice,
    *,
    rng: Rng,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """z for each interval between consecutive `clocks`, which all rise or all fall: tensors of `shape` (n, *event).

    An interval of no length has z = 0. Item i of a key is the same for every n. BadInput for clocks that turn back.
    """
    if len({b > a for a, b in pairwise(clocks) if a != b}) > 1:
        raise BadInput("the times of a way have to rise all along, or to fall; sort them")

    def normal(cell: int, node: int) -> Tensor:
        return rng.child("path", cell + _OFFSET, node).normal(shape, dtype=dtype, device=device)

    moves = _moves([clock for clock, _ in groupby(clocks)], lattice, normal)
    next(moves, None)
    for a, b in pairwise(clocks):
        yield next(moves) / math.sqrt(abs(b - a)) if a != b else torch.zeros(*shape, dtype=dtype, device=device)


def _moves(points: list[float], lattice: Lattice, normal: Callable[[int, int], Tensor]) -> Iterator[Tensor]:
    """W at each of the `points`, minus W at the one before; the first of them is of no use."""
    falling = points[-1] < points[0]
    cells = groupby(points, lambda clock: math.floor(lattice.place(clock)))
    last: int | None = None
    since: Tensor | float = 0.0
    """W at the edge where the next cell is entered, minus W at the last point."""
    for cell, inside in cells:
        for empty in () if last is None else range(last - 1, cell, -1) if falling else range(last + 1, cell):
            width = lattice.edge(empty + 1) - lattice.edge(empty)
            since = since + normal(empty, 1) * (-math.sqrt(width) if falling else math.sqrt(width))
        width = lattice.edge(cell + 1) - lattice.edge(cell)
        total = normal(cell, 1) * math.sqrt(width)
        within = sorted(inside)
        values = list(_filled(within, float(cell), cell + 1.0, 0.0, total, 2, lattice, partial(normal, cell)))
        entry = total if falling else 0.0
        for value in reversed(values) if falling else values:
            yield since + value - entry
            since, entry = -value, 0.0
        since, last = since if falling else since + total, cell


def _filled(
    points: Sequence[float],
    low: float,
    high: float,
    w_low: Tensor | float,
    w_high: Tensor,
    node: int,
    lattice: Lattice,
    normal: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    """W at the sorted `points` of the clock between the places `low` and `high`, given W there."""
    if not points:
        return
    deep = node.bit_length() - 2
    alone = len(points) == 1 and deep >= DEPTH
    middle = lattice.place(points[0]) if alone or deep >= DEEPEST else (low + high) / 2
    a, b = lattice.edge(low), lattice.edge(high)
    m = points[0] if alone or deep >= DEEPEST else lattice.edge(middle)
    share = min(max((m - a) / (b - a), 0.0), 1.0)
    w_middle = w_low + share * (w_high - w_low) + math.sqrt(share * (1 - share) * (b - a)) * normal(node)
    if alone or deep >= DEEPEST:
        yield from (w_middle for _ in points)
        return
    yield from _filled([p for p in points if p < m], low, middle, w_low, w_middle, 2 * node, lattice, normal)
    yield from (w_middle for p in points if p == m)
    yield from _filled([p for p in points if p > m], middle, high, w_middle, w_high, 2 * node + 1, lattice, normal)
