"""A schedule from an SDE: give f(t) and g(t) of dx = f x dt + g dW, and alpha and sigma are found by integration.

alpha(t) = exp(int_0^t f du) and sigma(t)^2 = alpha(t)^2 (r_0^2 + int_0^t g^2 / alpha^2 du) (Karras et al. 2022, arXiv
2206.00364, appendix B). Both integrals are Gauss-Legendre sums on panels of 16 nodes, and the inner one is the
collocation matrix of the same nodes (Hairer, Norsett and Wanner 1993, 'Solving Ordinary Differential Equations I',
II.7), so that they keep their digits also near t = 0, where sigma vanishes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from driftback.errors import BadInput

NODES, FEWEST, MOST, TOLERANCE = 16, 16, 4096, 1e-12
"""Nodes in a panel, panels to begin and to give up with, and the relative change at which doubling them may stop."""

Coefficient = Callable[[Tensor], Tensor | float]


def _collocation() -> tuple[Tensor, Tensor, Tensor]:
    """Gauss's nodes c and weights b on [0, 1], and the matrix that integrates from 0 to each node."""
    x, b = legendre.leggauss(NODES)
    whole = np.stack([legendre.legval(x, legendre.legint(row, lbnd=-1)) for row in np.eye(NODES)], 1)
    inner = whole @ np.linalg.inv(legendre.legvander(x, NODES - 1)) / 2
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(b / 2), torch.from_numpy(inner)


C, B, INNER = _collocation()


class _WithSlope(torch.autograd.Function):
    """A value whose derivative is known: the ODE itself says it, more exactly than its solution could."""

    @staticmethod
    def forward(ctx, t, value, slope):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient * ctx.saved_tensors[0], None, None


@dataclass(frozen=True)
class SolvedSchedule:
    """The schedule of dx = f(t) x dt + g(t) dW for t in [0, 1], with noise sigma(0) = `start` already in at t = 0.

    `f` and `g` take float64 tensors of any shape and return the same shape, or one number. alpha and sigma are right to
    about 1e-12 of their size, and once differentiable. BadInput where f or g^2 cannot be integrated to that, since they
    have a pole (as at alpha(1) = 0), or a jump or a kink at a time that is no whole multiple of 1/4096; or where the
    noise of some stretch is nothing beside that before it. What is narrower than 1/500 may be missed altogether.
    """

    f: Coefficient
    g: Coefficient
    start: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < float("inf"):
            raise BadInput(f"the noise at t = 0 is {self.start}; give a number >= 0")
        if not bool(self._table[2].diff().min() > 0):
            raise BadInput("g / alpha adds nothing over a whole stretch, so sigma / alpha is no clock there; give more")

    def alpha(self, t: Tensor) -> Tensor:
        with torch.no_grad():
            value = self._solved(t)[0].exp()
            slope = self._at(self.f, t) * value
        return _WithSlope.apply(t, value, slope)

    def sigma(self, t: Tensor) -> Tensor:
        with torch.no_grad():
            log_alpha, squared = self._solved(t)
            value = log_alpha.exp() * torch.sqrt(squared + self.start**2)
            slope = self._at(self.f, t) * value + self._at(self.g, t) ** 2 / (2 * value)
        return _WithSlope.apply(t, value, slope)

    @torch.no_grad()
    def time_of(self, ratio: Tensor) -> Tensor:
        """The time at which sigma / alpha equals `ratio`, by Newton's rule; ratios out of reach give 0 or 1."""
        knots, _, squares = (part.to(ratio.device) for part in self._table)
        wanted = (ratio**2 - self.start**2).clamp(min=0, max=float(squares[-1]))
        k = (torch.searchsorted(squares, wanted.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
        low, high = knots[k], knots[k + 1]
        t = high
        for _ in range(100):
            log_alpha, squared = self._solved(t)
            low, high = torch.where(squared < wanted, t, low), torch.where(squared > wanted, t, high)
            # In logarithms every power of t is a straight line, which one step solves.
            slope = t * self._at(self.g, t) ** 2 * torch.exp(-2 * log_alpha) / squared
            step = t * torch.exp(torch.log(wanted / squared) / slope)
            inside = (step >= low) & (step <= high)
            before, t = t, torch.where(inside, step, (low + high) / 2)
            if bool(((t - before).abs() <= 1e-15 * t).all()):
                break
        return torch.where(wanted > 0, t, 0.0)

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor, Tensor]:
        """Knots from 0 to 1 with log alpha and int g^2 / alpha^2 at each: panels are doubled until nothing changes."""
        panels, known = FEWEST, self._march(FEWEST)
        while panels < MOST:
            panels *= 2
            finer = self._march(panels)
            pairs = zip(finer, known, strict=True)
            change = max(float(((new[::2] - old).abs() / (1e-3 + old.abs())).max()) for new, old in pairs)
            if change < TOLERANCE:
                return finer
            known = finer
        raise BadInput("f and g cannot be integrated over [0, 1]; give them no poles, and jumps at k / 4096 alone")

    def _march(self, panels: int) -> tuple[Tensor, Tensor, Tensor]:
        knots = torch.linspace(0, 1, panels + 1, dtype=torch.float64)
        log_steps, raw = self._panel(knots[:-1], knots[1:] - knots[:-1])
        log_alpha = torch.cat([knots[:1], log_steps.cumsum(0)])
        squares = raw * torch.exp(-2 * log_alpha[:-1])
        return knots, log_alpha, torch.cat([knots[:1], squares.cumsum(0)])

    def _solved(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """log alpha and int_0^t g^2 / alpha^2 at times `t`."""
        knots, log_alpha, squares = (part.to(t.device) for part in self._table)
        k = (torch.searchsorted(knots, t.detach().contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
        log_step, square = self._panel(knots[k], t - knots[k])
        return log_alpha[k] + log_step, squares[k] + torch.exp(-2 * log_alpha[k]) * square

    def _panel(self, left: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The two integrals over [left, left + width], with alpha = 1 at the left."""
        c, b, inner = C.to(left.device), B.to(left.device), INNER.to(left.device)
        u = left[..., None] + width[..., None] * c
        f = self._at(self.f, u)
        log_alpha = width[..., None] * (f[..., None, :] * inner).sum(-1)
        return width * (f * b).sum(-1), width * (self._at(self.g, u) ** 2 * torch.exp(-2 * log_alpha) * b).sum(-1)

    @staticmethod
    def _at(coefficient: Coefficient, t: Tensor) -> Tensor:
        return torch.as_tensor(coefficient(t), dtype=torch.float64, device=t.device).expand(t.shape)
