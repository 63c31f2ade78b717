"""What was seen of an item, y = A(x) + s eps: the second factor of a posterior p(x | y) ∝ p(x) N(y; A(x), s^2 I).

A is any function of a batch that works item by item and that torch can differentiate. Its derivative at x is needed
only as two products: A'^T v by one backward pass, and A' u by a second one through the first, which is linear in v.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.errors import BadInput, DriftbackError
from driftback.randomness import Rng
from driftback.shapes import sum_event

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Observation:
    """`y` (*seen), or (n, *seen) with one for each of n items, of items of shape `event`, through `operator`.

    `operator` takes (n, *event) to (n, *seen); `noise` is the standard deviation s > 0 of what was added. BadInput
    where the operator fails, mixes items or cannot be differentiated, where `y` has another shape or is not finite, and
    for a noise of 0 or less.
    """

    operator: Operator
    y: Tensor
    noise: float
    event: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise BadInput(
                f"the noise of an observation is {self.noise:g}; give a deviation above 0, small where y is exact"
            )
        if not self.y.is_floating_point():
            object.__setattr__(self, "y", self.y.float())
        x = Rng(0).child("probe").normal((2, *self.event), dtype=self.y.dtype).requires_grad_(True)
        seen = self._tried(x)
        if seen.ndim < 1 or len(seen) != 2:
            raise BadInput(f"the operator makes {tuple(seen.shape)} of two items; let it keep the first axis")
        if self.y.shape not in (seen.shape[1:], (len(self.y), *seen.shape[1:]) if self.y.ndim else None):
            raise BadInput(
                f"the observation has the shape {tuple(self.y.shape)}, and the operator makes "
                f"{tuple(seen.shape[1:])} of an item of {self.event}; they have to agree"
            )
        if not self.y.numel():
            raise BadInput("the operator sees nothing of an item; let it return one number at least")
        if not bool(torch.isfinite(self.y).all()):
            raise BadInput("the observation holds values that are not finite; hide them by a mask")
        if not torch.allclose(seen, self._tried(x), rtol=1e-4, atol=1e-6, equal_nan=True):
            raise BadInput("the operator gives something else each time; let it be the same, and say its --noise apart")
        if not seen.requires_grad:
            raise BadInput("the operator cannot be differentiated; let it use torch's functions on its argument alone")
        mixed = Rng(0).child("mixed").normal(seen.shape, dtype=seen.dtype)[0].to(seen.device)
        slope = torch.autograd.grad((seen[0] * mixed).sum(), x, allow_unused=True)[0]
        if slope is not None and not bool((slope[0] != 0).any()):
            raise BadInput(
                "the operator's derivative is 0: it rounds, or does not look at the item; let it be smooth, and round "
                "afterwards what was seen"
            )
        if slope is None or not bool(torch.isfinite(slope).all()):
            raise BadInput("the operator's derivative is missing or not finite; let it be smooth on items of the data")
        if bool((slope[1] != 0).any()):
            raise BadInput("the operator mixes the items of a batch; let it treat each for itself")

    def _tried(self, x: Tensor) -> Tensor:
        try:
            seen = self.operator(x)
        except DriftbackError:
            raise
        except Exception as error:  # a person's own function may raise anything; they get one line of it
            first = str(error).partition("\n")[0]
            raise BadInput(f"the operator fails on items of {self.event}: {type(error).__name__}: {first}") from error
        if not isinstance(seen, Tensor):
            raise BadInput(f"the operator returns a {type(seen).__name__}; let it return a tensor (n, *seen)")
        return seen

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """The shape of what is seen of one item."""
        return tuple(self._tried(torch.zeros(1, *self.event, dtype=self.y.dtype)).shape[1:])

    @property
    def numbers(self) -> int:
        """How many numbers are seen of an item."""
        return math.prod(self.seen)

    @cached_property
    def linear(self) -> bool:
        """Whether A(x) = A'(0) x + A(0), judged by two random items, and by two that are ten times as far out."""
        return all(self._straight(scale) for scale in (1.0, 10.0))

    def _straight(self, scale: float) -> bool:
        x = scale * Rng(0).child("linear").normal((2, *self.event), dtype=self.y.dtype)
        zero, both = torch.zeros_like(x[:1]), self.operator(torch.cat([x, x.sum(0, keepdim=True)]))
        parts = both[0] + both[1] - self.operator(zero)[0]
        return bool(torch.allclose(parts, both[2], rtol=1e-4, atol=1e-4 * float(both.abs().max() + 1e-30)))

    def missed(self, seen: Tensor) -> Tensor:
        """y - A(x) for `seen` = A(x), (n, *seen)."""
        return self.y.to(seen) - seen

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(y | x) in nats for `x` (n, *event), (n,) float64."""
        squares = sum_event((self.missed(self.operator(x)).double() / self.noise) ** 2)
        return -squares / 2 - self.numbers * (math.log(self.noise) + LOG_TWO_PI / 2)

    def pulled(self, x: Tensor, v: Tensor) -> Tensor:
        """A'(x)^T v, (n, *event) for `v` (n, *seen)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(self.operator(x), x, v)[0]

    def pushed(self, x: Tensor, u: Tensor) -> Tensor:
        """A'(x) u, (n, *seen) for `u` (n, *event)."""
        if self.linear:
            return self.operator(u) - self.operator(torch.zeros_like(u[:1]))
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            seen = self.operator(x)
            v = torch.zeros_like(seen, requires_grad=True)
            back = torch.autograd.grad(seen, x, v, create_graph=True)[0]
            return torch.autograd.grad(back, v, u)[0]
