"""The draws of chains as people hand them over: checked, with a name for each quantity, and read in bounded memory.

Chains, draws, quantities and modes are numbered from 0, as in the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.errors import BadInput

Array = NDArray[np.generic] | Tensor
Numbers = NDArray[np.float64]

BLOCK = 65_536
"""Points that a problem's own functions see at a time."""
NAMED = 3
"""As many chains, modes or quantities are named in one sentence; of more it tells the number."""


@dataclass(frozen=True, eq=False)
class Draws:
    """`points` (chains, draws, *event), and of each the quantities `values` (chains, draws, q) with their `names`."""

    points: NDArray[np.generic]
    values: NDArray[np.generic]
    names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """How many chains there are, and how many draws each has."""
        return self.points.shape[0], self.points.shape[1]

    def quantity(self, j: int) -> Numbers:
        """Quantity `j` (chains, draws). BadInput where it is not finite."""
        x = np.ascontiguousarray(self.values[..., j], dtype=np.float64)
        if not np.isfinite(x).all():
            chain, draw = np.argwhere(~np.isfinite(x))[0]
            raise BadInput(
                f"{self.names[j]} is {x[chain, draw]} in draw {draw} of chain {chain}; "
                "leave out what came after, or find out why the chain broke down"
            )
        return x

    def of_points(self, function: Callable[[Tensor], Tensor]) -> NDArray[np.generic]:
        """What `function` makes of all points (n, *event), block by block, as (chains, draws, ...)."""
        chains, draws = self.shape
        flat = self.points.reshape(chains * draws, *self.points.shape[2:])
        parts = [
            plain(function(torch.as_tensor(np.ascontiguousarray(flat[i : i + BLOCK]))), "what the problem gives")
            for i in range(0, len(flat), BLOCK)
        ]
        found = np.concatenate(parts)
        return found.reshape(chains, draws, *found.shape[1:])


def plain(x: Array, name: str) -> NDArray[np.generic]:
    """`x` as an array of real numbers on the CPU; BadInput for anything else."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    found = np.asarray(x)
    if found.dtype.kind not in "biuf":
        raise BadInput(f"{name} must be real numbers, not {found.dtype}")
    return found


def read_draws(draws: Array, names: Sequence[str] = (), problem: Problem | None = None) -> Draws:
    """`draws` (chains, draws, *event) with their quantities: those of the `problem`, or else all their numbers.

    `names`, or else the problem's, are told for the quantities. BadInput for no draws, and for another number of names.
    """
    points = plain(draws, "draws")
    if points.ndim < 2 or points.size == 0:
        raise BadInput(f"draws have the shape {points.shape}; give (chains, draws, *event), one row per chain")
    chains, count, *event = points.shape
    names = tuple(names) or (problem.names if problem is not None else ())
    if problem is None:
        values = points.reshape(chains, count, -1)
        default = labels("x", event)
    else:
        if tuple(event) != tuple(problem.event_shape):
            raise BadInput(
                f"draws have events of shape {tuple(event)}, but those of {problem.name} have {problem.event_shape}; "
                "give the points themselves"
            )
        values = Draws(points, points, ()).of_points(problem.quantities)
        values = values.reshape(chains, count, -1)
        default = default_names(event, values.shape[2])
    names = names or default
    if len(names) != values.shape[2]:
        raise BadInput(f"there are {len(names)} names for {values.shape[2]} quantities; give one for each")
    return Draws(points, values, names)


def labels(letter: str, event: Sequence[int]) -> tuple[str, ...]:
    """The names of the numbers in an event, 'x[0]', 'x[1, 2]', as ArviZ has them; 'x' where it is one number."""
    if not event:
        return (letter,)
    return tuple(f"{letter}[{', '.join(map(str, place))}]" for place in np.ndindex(*event))


def default_names(event: Sequence[int], count: int) -> tuple[str, ...]:
    """Names for `count` quantities of points of shape `event`: those of the coordinates where they are as many."""
    return labels("x", event) if count == math.prod(event) else labels("q", (count,))


def per_draw(x: Array, shape: tuple[int, int], name: str) -> Numbers:
    """`x` (chains, draws) in float64. BadInput for another shape, and for values that are not finite."""
    found = plain(x, name).astype(np.float64)
    if found.shape != shape:
        raise BadInput(f"{name} has the shape {found.shape}, but there are {shape[0]} chains of {shape[1]} draws")
    if not np.isfinite(found).all():
        chain, draw = np.argwhere(~np.isfinite(found))[0]
        raise BadInput(f"{name} is {found[chain, draw]} in draw {draw} of chain {chain}; give finite values")
    return found


def listed(thing: str, which: Sequence[int]) -> str:
    """'chain 3', 'chains 3 and 5', or 'chains 0, 1, 2 and 9 others'."""
    if len(which) == 1:
        return f"{thing} {which[0]}"
    shown = [str(one) for one in which[:NAMED]]
    last = f"{len(which) - NAMED} others" if len(which) > NAMED + 1 else None
    if last is None:
        shown, last = [str(one) for one in which[:-1]], str(which[-1])
    return f"{thing}s {', '.join(shown)} and {last}"


def known(x: float) -> float | None:
    """`x`, or None where it is not finite: what JSON can hold."""
    return float(x) if math.isfinite(x) else None
