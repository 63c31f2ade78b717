"""A target as the chains meet it: every evaluation is counted, and a density that misbehaves is told in one line.

log p is minus infinity where the target has no mass. NaN, plus infinity and answers of a wrong shape are mistakes: the
line names the chain and the point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.target import Problem, Target
from driftback.errors import BadInput
from driftback.samplers.markov.state import State

SHOWN = 6
"""So many coordinates of a point are told."""
NO_GRADIENT = (
    "log_prob has no gradient: its result does not hang on x by torch's operations; use these, hand a gradient in, or "
    "take a method that needs none (metropolis, stretch)"
)
Gradient = Callable[[Tensor], Tensor]
Both = Callable[[Tensor], tuple[Tensor, Tensor]]


class BadDensity(BadInput):
    """A log_prob, or its gradient, cannot be used: where and why. `draws` is what was drawn before, if anything."""

    draws: Any = None


class Energy:
    """The log-density of `target` and its gradient, by automatic derivation if it knows no way of its own.

    A target may have a `score(x)`, or `log_prob_and_score(x)`, which gives both where they share work.

    `densities` and `gradients` count the evaluations of all chains so far; one with a gradient is both. While `lenient`
    is set, NaN counts as minus infinity (`odd` counts these), because untuned steps land anywhere.
    """

    def __init__(self, target: Target, gradient: Gradient | None = None) -> None:
        self.target = target
        self.gradient: Gradient | None = gradient if gradient is not None else self.ability("score")
        self.together: Both | None = self.ability("log_prob_and_score") if gradient is None else None
        self.densities = self.gradients = self.odd = 0
        self.lenient = False

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.target.event_shape)

    def ability(self, name: str) -> Callable[..., Any] | None:
        """What else the target can do under this `name` (score, conditional, flip_differences), or None."""
        return getattr(self.target.target if isinstance(self.target, Problem) else self.target, name, None)

    def value(self, x: Tensor) -> Tensor:
        """log p at `x` (n, *event), (n,) of its dtype."""
        return self.of(self.target.log_prob, x)

    def of(self, density: Gradient, x: Tensor) -> Tensor:
        """What another `density`, a part of log p, is at `x` (n, *event): counted and checked like log p itself."""
        self.densities += len(x)
        with torch.no_grad():
            return self._checked(density(x), x)

    def slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p at `x` (n, *event), and its gradient in the same shape; 0 where log p is minus infinity."""
        self.densities += len(x)
        self.gradients += len(x)
        if self.together is not None:
            with torch.no_grad():
                value, slope = self.together(x)
                return self._both(value, slope, x)
        if self.gradient is not None:
            with torch.no_grad():
                return self._both(self.target.log_prob(x), self.gradient(x), x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = self.target.log_prob(leaf)
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise BadDensity(NO_GRADIENT)
            if value.shape != (len(x),):
                self._checked(value.detach(), x)
            (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
            if slope is None:  # the result hangs on parameters that want a gradient, but not on x
                raise BadDensity(NO_GRADIENT)
        return self._both(value.detach(), slope, x)

    def state(self, x: Tensor, *, sloped: bool) -> State:
        """The state of chains at `x`, with the gradient where it is wanted."""
        if sloped:
            return State(x, *self.slope(x))
        return State(x, self.value(x))

    def begin(self, x: Tensor, *, sloped: bool) -> State:
        """The state of chains that begin at `x`. BadDensity where one is outside of the support."""
        if tuple(x.shape[1:]) != self.event_shape:
            raise BadInput(f"points of shape {tuple(x.shape[1:])} cannot start a target on {self.event_shape}")
        lenient, self.lenient = self.lenient, False
        try:
            state = self.state(x, sloped=sloped)
        finally:
            self.lenient = lenient
        outside = (state.log_prob == -torch.inf).nonzero()
        if len(outside):
            chain = int(outside[0, 0])
            raise BadDensity(f"chain {chain} starts outside of the support, at {told(x[chain])}; start it elsewhere")
        return state

    def _both(self, value: Tensor, slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        value = self._checked(value, x)
        if not isinstance(slope, Tensor) or slope.shape != x.shape:
            got = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
            raise BadDensity(f"the gradient at points of shape {tuple(x.shape)} is {got}; give it the same shape")
        # The sum of a row is finite unless a number of the row is not (or all but overflows: then it is looked at).
        odd = ~torch.isfinite(slope.flatten(1).sum(1))
        if bool(odd.any()):
            odd = ~torch.isfinite(slope.flatten(1)).all(1)
            bad = odd & (value > -torch.inf)
            if bool(bad.any()):
                if not self.lenient:
                    row = int(bad.nonzero()[0, 0])
                    raise BadDensity(f"the gradient of log_prob is not finite in chain {row}, at {told(x[row])}")
                self.odd += int(bad.sum())
                value = torch.where(bad, -torch.inf, value)
            slope = torch.where(odd.reshape(-1, *[1] * (x.ndim - 1)), 0.0, slope)
        return value, slope.to(x.dtype)

    def _checked(self, value: Tensor, x: Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            raise BadDensity(f"log_prob gave a {type(value).__name__}; return a tensor of shape (n,)")
        if value.shape != (len(x),):
            raise BadDensity(
                f"log_prob gave shape {tuple(value.shape)} for points of shape {tuple(x.shape)}; return one number per "
                f"point, ({len(x)},)"
            )
        value = value.to(x.dtype)
        bad = ~(value < torch.inf)
        if not bool(bad.any()):
            return value
        # Points so far out that their squares overflow are nobody's mistake but the step's.
        lost = ~(x.flatten(1).abs() < torch.finfo(x.dtype).max ** 0.5).all(1)
        infinite = bad & ~lost & ~value.isnan()
        odd = bad & ~lost & value.isnan()
        for rows, what in ((infinite, "plus infinity"), (odd, "NaN")):
            if bool(rows.any()) and not (self.lenient and rows is odd):
                row = int(rows.nonzero()[0, 0])
                raise BadDensity(f"log_prob is {what} in chain {row}, at {told(x[row])}; mend it there")
        self.odd += int(odd.sum())
        return torch.where(bad, -torch.inf, value)


def told(point: Tensor) -> str:
    """A point for a person: its first coordinates."""
    numbers = point.detach().flatten().tolist()
    more = f", ... {len(numbers)} numbers" if len(numbers) > SHOWN else ""
    return f"x = ({', '.join(f'{number:.4g}' for number in numbers[:SHOWN])}{more})"
