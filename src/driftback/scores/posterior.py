"""The denoiser after an observation y = A x + s eps, E[x_0 | x_t, y], as if x_0 given x_t were Gaussian.

With x_0 | x_t ~ N(D, V) it is D + (sigma^2 / alpha) J^T A^T (s^2 I + A V A^T)^-1 (y - A D), J = dD/dx, V held fixed.
What V is tells two methods apart: v I with v = spread^2 r^2 / (spread^2 + r^2), r = sigma / alpha, PiGDM's (Song et al.
2023, 'Pseudoinverse-guided diffusion models for inverse problems', section 3.2), or (sigma^2 / alpha) J, which is the
covariance of x_0 given x_t itself, MMPS's (Rozet et al. 2024, arXiv 2405.13712, equation 20). For Gaussian data the
second is exact. Where noise is large a network's J times sigma^2 / alpha is no covariance, but its error multiplied:
beyond `until` both V and J are those of N(0, spread^2 I), J = alpha V / sigma^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.observation import Observation
from driftback.errors import NotFinite
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.scores.twist import Guess, Twist, tweedie
from driftback.shapes import as_time, per_item, sum_event

EXPLICIT = 16
"""Up to so many numbers seen, s^2 I + A V A^T is written out and factorised; beyond, solved by conjugate gradients."""
DIGITS = 1e-12
"""The least eigenvalue beside the largest that a factorisation in float64 bears."""


class Covariance(Protocol):
    """V of x_0 given x_t."""

    @property
    def alike(self) -> bool:
        """Whether it is the same for all points at one time, where A is linear."""
        ...

    def times(self, v: Tensor, left: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        """V v for `v` (n, *event), by the Gaussian's variance `left`, which multiplies v, or by `own`, which makes
        (sigma^2 / alpha) J^T v of v.
        """
        ...


@dataclass(frozen=True)
class Isotropic:
    """PiGDM's: v I, what is left of N(0, spread^2 I) after noise of ratio r."""

    alike: bool = True

    def times(self, v: Tensor, left: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        return left * v


@dataclass(frozen=True)
class Jacobian:
    """MMPS's: (sigma^2 / alpha) J, the covariance by Tweedie's second formula."""

    alike: bool = False

    def times(self, v: Tensor, left: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        return own(v)


def remaining(process: Diffusion, t: Tensor) -> Tensor:
    """The variance that is left of N(0, spread^2) after noise of ratio r: spread^2 r^2 / (spread^2 + r^2), as `t`."""
    square = process.ratio(t) ** 2
    known = process.spread**2 * square / (process.spread**2 + square)
    return torch.where(square.isfinite(), known, process.spread**2)


@dataclass(frozen=True, eq=False)
class Posterior(Twist):
    """`denoiser` after `observation`, V being `covariance`'s; `solves` steps of conjugate gradients where they are
    taken.

    An evaluation costs one of the denoiser and one backward pass through it, and with `Jacobian` one more for each
    step, or for each number that is seen where these are few (`EXPLICIT`).
    """

    denoiser: Denoiser
    observation: Observation
    covariance: Covariance = Jacobian()
    solves: int = 4
    until: float = math.inf
    """Up to this ratio r, in deviations of the data, the denoiser's own derivative is taken."""

    def guess(self, x: Tensor, t: float | Tensor) -> Guess:
        t, operator, scale = as_time(t, x), self.observation, tweedie(self.process, x, t)
        left = per_item(remaining(self.process, t), x)
        far = per_item(self.process.ratio(t) > self.until * self.process.spread, x) > 0
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            mean = self.denoiser.denoised(leaf, t)
        centre = mean.detach()
        missed = operator.missed(operator.operator(centre))

        def own(v: Tensor) -> Tensor:
            """(sigma^2 / alpha) J^T v."""
            if bool(far.all()):
                return left * v
            near = scale * torch.autograd.grad(mean, leaf, v, retain_graph=True)[0]
            return torch.where(far, left * v, near)

        def across(v: Tensor) -> Tensor:
            return operator.pushed(centre, self.covariance.times(operator.pulled(centre, v), left, own))

        if operator.numbers <= EXPLICIT:
            alike = self.covariance.alike and operator.linear and t.ndim == 0
            log_h, weights = _log_prob(_factor(*_written_out(across, missed, operator.noise, alike)), missed)
        else:
            weights = _conjugate(across, missed, self.observation.noise, self.solves)
            log_h = -sum_event((missed * weights).double()) / 2
        return Guess(centre, own(operator.pulled(centre, weights)), log_h)

    def log_factor(self, x0: Tensor) -> Tensor:
        """log p(y | x_0), (n,)."""
        return self.observation.log_prob(x0)

    def of(self, rows: Tensor) -> Posterior:
        return replace(self, denoiser=self.denoiser.of(rows))

    def given(self, label: int | Tensor) -> Posterior:
        """The same observation on the denoiser of a class."""
        return replace(self, denoiser=self.denoiser.given(label))


def _written_out(
    across: Callable[[Tensor], Tensor], like: Tensor, noise: float, alike: bool = False
) -> tuple[Tensor, float]:
    """C = noise^2 I + `across` on what has the shape of `like` (n, *seen), as (n, m, m) float64, (1, m, m) where items
    are `alike`; and the least eigenvalue that it may have.
    """
    n, m = len(like), like[0].numel()
    columns = []
    for j in range(m):
        e = torch.zeros_like(like).reshape(n, m)
        e[:, j] = 1.0
        columns.append(across(e.reshape(like.shape)).reshape(n, m)[: 1 if alike else n])
    matrix = torch.stack(columns, 2).double()
    # A network's J is symmetric only as far as it has learned to be.
    return (matrix + matrix.mT) / 2 + noise**2 * torch.eye(m, dtype=torch.float64, device=like.device), noise**2


def _factor(matrix: Tensor, least: float) -> Tensor:
    """The Cholesky factor of each of `matrix` (n, m, m); where it has none, of that with eigenvalues of `least`."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool((failed > 0).any()):
        bad = matrix.detach()[failed > 0]
        if not bool(torch.isfinite(bad).all()):
            raise NotFinite(
                "the network's derivative is not finite on the way back: what is known lies far from the data, or the "
                "training diverged; give a larger --noise, or try --checkpoint best"
            )
        values, axes = torch.linalg.eigh(bad)
        mended = torch.zeros_like(matrix)
        # What is less than rounding leaves of the largest would be lost again.
        floor = (DIGITS * values.amax(-1, keepdim=True)).clamp(min=least)
        mended[failed > 0] = axes * torch.maximum(values, floor).unsqueeze(-2) @ axes.mT - bad
        factor = torch.linalg.cholesky(matrix + mended)
    return factor


def _log_prob(factor: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """log N(b; 0, C), (n,) float64, and C^-1 b, for the factors (n, m, m) or (1, m, m) of C."""
    flat = b.reshape(len(b), -1).double()[..., None]
    weights = torch.cholesky_solve(flat, factor.expand(len(b), -1, -1))
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    log_prob = -((flat * weights).sum((1, 2)) + log_det + flat.shape[1] * LOG_TWO_PI) / 2
    return log_prob, weights[..., 0].reshape(b.shape).to(b.dtype)


def _conjugate(across: Callable[[Tensor], Tensor], b: Tensor, noise: float, steps: int) -> Tensor:
    """C^-1 b by so many steps of conjugate gradients from b scaled to its length (Hestenes and Stiefel 1952)."""

    def apply(v: Tensor) -> Tensor:
        return noise**2 * v + across(v)

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return sum_event(u * v)

    def ratio(above: Tensor, below: Tensor) -> Tensor:
        # An item that is solved, or whose curvature is none because its J is no covariance, stays where it is.
        fine = (below > 0) & (above > 0)
        return per_item(torch.where(fine, above / torch.where(fine, below, 1.0), 0.0), b)

    out = torch.zeros_like(b)
    rest, direction = b, b
    size = dot(rest, rest)
    for _ in range(steps):
        image = apply(direction)
        step = ratio(size, dot(direction, image))
        out, rest = out + step * direction, rest - step * image
        after = dot(rest, rest)
        direction = rest + ratio(after, size) * direction
        size = after
    return out
