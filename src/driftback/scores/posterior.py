"""The denoiser after an observation y = A x + s eps, E[x_0 | x_t, y], as if x_0 given x_t were Gaussian.

With x_0 | x_t ~ N(D, V) it is D + (sigma^2 / alpha) J^T A^T (s^2 I + A V A^T)^-1 (y - A D), J = dD/dx, V held fixed.
What V is tells two methods apart: v I with v = spread^2 r^2 / (spread^2 + r^2), r = sigma / alpha, PiGDM's (Song et al.
2023, 'Pseudoinverse-guided diffusion models for inverse problems', section 3.2), or (sigma^2 / alpha) J, which is the
covariance of x_0 given x_t itself, MMPS's (Rozet et al. 2024, arXiv 2405.13712, equation 20). For Gaussian data the
second is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.observation import Observation
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.scores.twist import Guess, Twist, tweedie
from driftback.shapes import as_time, per_item, sum_event

EXPLICIT = 16
"""Up to so many numbers seen, s^2 I + A V A^T is written out and factorised; beyond, solved by conjugate gradients."""


class Covariance(Protocol):
    """V of x_0 given x_t."""

    @property
    def alike(self) -> bool:
        """Whether it is the same for all points at one time, where A is linear."""
        ...

    def times(self, process: Diffusion, t: Tensor, v: Tensor, backward: Callable[[Tensor], Tensor]) -> Tensor:
        """V v for `v` (n, *event); `backward` is v to J^T v."""
        ...


@dataclass(frozen=True)
class Isotropic:
    """PiGDM's: v I, what is left of N(0, spread^2 I) after noise of ratio r."""

    alike: bool = True

    def times(self, process: Diffusion, t: Tensor, v: Tensor, backward: Callable[[Tensor], Tensor]) -> Tensor:
        square = process.ratio(t) ** 2
        left = torch.where(
            square.isfinite(), process.spread**2 * square / (process.spread**2 + square), process.spread**2
        )
        return per_item(left, v) * v


@dataclass(frozen=True)
class Jacobian:
    """MMPS's: (sigma^2 / alpha) J, the covariance by Tweedie's second formula."""

    alike: bool = False

    def times(self, process: Diffusion, t: Tensor, v: Tensor, backward: Callable[[Tensor], Tensor]) -> Tensor:
        return tweedie(process, v, t) * backward(v)


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

    def guess(self, x: Tensor, t: float | Tensor) -> Guess:
        t, operator = as_time(t, x), self.observation
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            mean = self.denoiser.denoised(leaf, t)
        centre = mean.detach()
        missed = operator.missed(operator.operator(centre))

        def backward(v: Tensor) -> Tensor:
            return torch.autograd.grad(mean, leaf, v, retain_graph=True)[0]

        def across(v: Tensor) -> Tensor:
            back = operator.pulled(centre, v)
            return operator.pushed(centre, self.covariance.times(self.process, t, back, backward))

        if operator.numbers <= EXPLICIT:
            alike = self.covariance.alike and operator.linear and t.ndim == 0
            weights, log_h = _solved(across, missed, self.observation.noise, alike)
        else:
            weights = _conjugate(across, missed, self.observation.noise, self.solves)
            log_h = -sum_event((missed * weights).double()) / 2
        return Guess(centre, tweedie(self.process, x, t) * backward(operator.pulled(centre, weights)), log_h)

    def log_factor(self, x0: Tensor) -> Tensor:
        """log p(y | x_0), (n,)."""
        return self.observation.log_prob(x0)

    def given(self, label: int | Tensor) -> Posterior:
        """The same observation on the denoiser of a class."""
        return Posterior(self.denoiser.given(label), self.observation, self.covariance, self.solves)


def _solved(across: Callable[[Tensor], Tensor], b: Tensor, noise: float, alike: bool) -> tuple[Tensor, Tensor]:
    """C^-1 b and log N(b; 0, C), (n,), for C = noise^2 I + `across`, written out; `alike` items have one C."""
    n, m = len(b), b[0].numel()
    columns = []
    for j in range(m):
        e = torch.zeros_like(b).flatten(1)
        e[:, j] = 1.0
        columns.append(across(e.reshape(b.shape)).flatten(1)[: 1 if alike else n])
    matrix = torch.stack(columns, 2).double()
    # A network's J is symmetric only as far as it has learned to be.
    matrix = (matrix + matrix.mT) / 2 + noise**2 * torch.eye(m, dtype=torch.float64, device=b.device)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool((failed > 0).any()):
        values, axes = torch.linalg.eigh(matrix[failed > 0])
        mended = axes * values.clamp(min=noise**2).unsqueeze(-2) @ axes.mT
        factor[failed > 0] = torch.linalg.cholesky(mended)
    flat = b.flatten(1).double()[..., None]
    weights = torch.cholesky_solve(flat, factor.expand(n, m, m))
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    log_prob = -((flat * weights).sum((1, 2)) + log_det + m * LOG_TWO_PI) / 2
    return weights[..., 0].reshape(b.shape).to(b.dtype), log_prob


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
