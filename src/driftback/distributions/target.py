"""A target that is given by its density, and what is known about it beforehand, so that draws can be judged.

`log_prob` need only be right up to a constant: log Z = log of the integral of exp(log_prob). Where more is known, in
closed form or from long reference runs, it stands in a `Truth`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a target; None stands where it is not.

    `mean` and `deviation` (q,) are those of its quantities. `mode` tells the number (n,), from 0 on, of the mode that
    each point belongs to, and `shares` (k,) what share of the mass each mode has.
    """

    log_z: float | None = None
    mean: Tensor | None = None
    deviation: Tensor | None = None
    mode: Callable[[Tensor], Tensor] | None = None
    shares: Tensor | None = None
    source: str = "closed form"


@runtime_checkable
class Target(Protocol):
    """A density known up to a constant, on events of one shape."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, *event), up to a constant, as (n,); minus infinity outside the support."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """Any target with its name, its `truth`, and the quantities (n, q) that people ask for; by default the coordinates.

    Where `values` are given each coordinate takes one of these two numbers; else a normal law about 0 of deviation
    `scale` is where chains begin, and what populations are led from.
    """

    target: Target
    name: str
    truth: Truth = field(default_factory=Truth)
    names: tuple[str, ...] = ()
    quantities: Callable[[Tensor], Tensor] = lambda x: x.reshape(len(x), -1)
    values: tuple[float, float] | None = None
    source: str = ""
    scale: float = 1.0

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return self.target.event_shape

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, *event), up to a constant, as (n,)."""
        return self.target.log_prob(x)


def nearest(centres: Tensor) -> Callable[[Tensor], Tensor]:
    """A `mode` that tells the nearest of the `centres` (k, *event)."""

    def mode(x: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1).double(), centres.to(x.device).flatten(1).double()).argmin(1)

    return mode
