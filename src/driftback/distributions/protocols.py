"""What can be drawn from and what can be scored: ingredients one and two of the library are the same kind of thing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from driftback.randomness import Rng


@runtime_checkable
class Source(Protocol):
    """Something to draw from."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        ...

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` items, (n, *event). Item i of a key is the same for every n."""
        ...


@runtime_checkable
class Density(Protocol):
    """Something with a log-density."""

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, *event), as (n,); up to a constant only where it says so."""
        ...


@runtime_checkable
class Scored(Protocol):
    """Something whose log-density has a gradient by formula."""

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, *event), of the same shape."""
        ...


@runtime_checkable
class Conditionals(Protocol):
    """A law each of whose coordinates can be drawn given all the others: what Gibbs sampling lives on."""

    def conditional(self, x: Tensor, i: int, *, rng: Rng | int | None = None) -> Tensor:
        """Coordinate `i` of the flattened event, drawn given the rest of each row of `x` (n, *event), as (n,).

        What `x` holds at `i` itself has no influence. Row j takes the noise of item j of the key; `x` is left as it is.
        """
        ...
