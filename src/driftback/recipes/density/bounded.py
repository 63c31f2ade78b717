"""Coordinates with bounds, moved without: each is a function of a number that may be anything.

    x = a + e^y above a bound a,    x = b - e^y below b,    x = a + (b - a) / (1 + e^-y) between them,

and the density of y is that of x times |dx / dy| (as in Stan's reference manual, 'Constraint transforms'). So kernels
meet no wall, log Z stays what it was, and what they draw is handed back as x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from driftback.distributions.target import Problem
from driftback.errors import BadInput


@dataclass(frozen=True, eq=False)
class Bounded:
    """The problem `of` x between `lower` and `upper` (*event), where infinity is no bound, as a target on y."""

    of: Problem
    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        own = getattr(self.of.target, "start", None)
        if own is not None:
            object.__setattr__(self, "start", self._begun(own) if callable(own) else own)
        score, both = (getattr(self.of.target, name, None) for name in ("score", "log_prob_and_score"))
        if callable(both):
            object.__setattr__(self, "log_prob_and_score", self._both(both))
        if callable(score):
            object.__setattr__(self, "score", self.pulled(score))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """That of x."""
        return tuple(self.of.event_shape)

    def log_prob(self, y: Tensor) -> Tensor:
        """The log-density of y (n, *event), (n,)."""
        return self.of.log_prob(self.outward(y)) + self.log_volume(y)

    def outward(self, y: Tensor) -> Tensor:
        """x, strictly within the bounds, from y (n, *event)."""
        a, b, low, high = self._bounds(y)
        zero = torch.zeros_like(a)
        # Where it is not wanted the exponential must not overflow: 0 times infinity would be its gradient.
        rise = torch.where(low ^ high, y, zero).exp()
        above, below = torch.where(low, a, zero) + rise, torch.where(high, b, zero) - rise
        between = torch.where(low & high, a, zero) + torch.where(low & high, b - a, zero) * y.sigmoid()
        x = torch.where(low & high, between, torch.where(low, above, torch.where(high, below, y)))
        # Rounding may put it on a bound, where a density is often infinite or none.
        far = torch.full_like(a, torch.inf)
        return x.clamp(a.nextafter(far), b.nextafter(-far))

    def inward(self, x: Tensor) -> Tensor:
        """y of x (n, *event). BadInput where a chain is not within the bounds."""
        a, b, low, high = self._bounds(x)
        outside = (~((x > a) & (x < b))).reshape(len(x), -1).any(1).nonzero()
        if len(outside):
            raise BadInput(f"chain {int(outside[0, 0])} starts outside of lower and upper; start it between them")
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        up, down = torch.where(low, x - a, one).log(), torch.where(high, b - x, one).log()
        return torch.where(low & high, up - down, torch.where(low, up, torch.where(high, down, x + zero)))

    def log_volume(self, y: Tensor) -> Tensor:
        """log |dx / dy|, (n,)."""
        a, b, low, high = self._bounds(y)
        both = low & high
        between = torch.where(both, b - a, torch.ones_like(a)).log() + logsigmoid(y) + logsigmoid(-y)
        parts = torch.where(both, between, torch.where(low | high, y, torch.zeros_like(y)))
        return parts.reshape(len(y), -1).sum(1)

    def pulled(self, score: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """The gradient in y from one in x: dx / dy times it, and the gradient of the logarithm of that."""

        def pulled(y: Tensor) -> Any:
            return self._pulled(y, score(self.outward(y)))

        return pulled

    def _pulled(self, y: Tensor, slope: Any) -> Any:
        if not isinstance(slope, Tensor) or slope.shape != y.shape:
            return slope  # it is told what is wrong with it where all gradients are looked at
        a, b, low, high = self._bounds(y)
        both, share = low & high, y.sigmoid()
        rate = torch.where(both, (b - a) * share * (1 - share), torch.where(low | high, y.exp(), torch.ones_like(y)))
        rate = torch.where(high & ~low, -rate, rate)
        bend = torch.where(both, 1 - 2 * share, torch.where(low | high, torch.ones_like(y), torch.zeros_like(y)))
        return slope * rate + bend

    def _both(self, both: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def found(y: Tensor) -> tuple[Tensor, Any]:
            value, slope = both(self.outward(y))
            return value + self.log_volume(y), self._pulled(y, slope)

        return found

    def _begun(self, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda n, *, rng=None: self.inward(own(n, rng=rng))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, b = self.lower.to(like).expand_as(like), self.upper.to(like).expand_as(like)
        return a, b, a > -torch.inf, b < torch.inf


def within(problem: Problem, lower: Any, upper: Any) -> Problem:
    """The `problem` with its coordinates between `lower` and `upper`: numbers, one per coordinate, or None for no
    bound. BadInput for bounds that leave no room, or do not fit.
    """
    if lower is None and upper is None:
        return problem
    if problem.values is not None:
        raise BadInput(f"the coordinates of {problem.name} take two values; leave lower and upper out")
    event = tuple(problem.event_shape)
    a, b = _bound(lower, "lower", -np.inf, event), _bound(upper, "upper", np.inf, event)
    if not bool((a < b).all()):
        place = int((a >= b).flatten().nonzero()[0, 0])
        raise BadInput(f"lower is not below upper in coordinate {place + 1}; let it be")
    target, asked = Bounded(problem, a, b), problem.quantities
    return replace(problem, target=target, quantities=lambda y: asked(target.outward(y)))


def _bound(given: Any, name: str, none: float, event: tuple[int, ...]) -> Tensor:
    """A bound as a tensor of the event's shape."""
    if given is None:
        return torch.full(event, none, dtype=torch.float64)
    try:
        parts = given.tolist() if hasattr(given, "tolist") else given
        numbers = np.array(_filled(parts, none), np.float64)
        bound = torch.from_numpy(np.broadcast_to(numbers, event).copy())
    except (TypeError, ValueError):
        raise BadInput(f"{name} is {given!r}; give a number, or one per coordinate, in the shape {event}") from None
    if bool(bound.isnan().any()) or bool((bound == -none).any()):
        raise BadInput(f"{name} is {given!r}; give numbers, and None where there is no bound")
    return bound


def _filled(parts: Any, none: float) -> Any:
    return (
        none if parts is None else [_filled(one, none) for one in parts] if isinstance(parts, list | tuple) else parts
    )
