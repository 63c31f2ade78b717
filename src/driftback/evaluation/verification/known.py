"""Processes beyond schedules whose answers are known, for `driftback verify`: turning noise, and noise that grows.

`turning` is a linear SDE with a drift matrix that rotates and noise that is correlated and fades in with time.
`growing` is geometric Brownian motion in the plane, dx_i = x_i (a_i dt + sum_j B_ij dW_j): log x_t is normal with mean
log x_0 + (a_i - |B_i|^2 / 2) t and covariance B B^T t (Kloeden and Platen 1992, section 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.evaluation.verification.ito import Score
from driftback.evaluation.verification.process import PLACE
from driftback.processes.linear import LinearSDE
from driftback.randomness import Rng, as_rng
from driftback.shapes import as_time

TURN = torch.tensor([[-0.8, 1.5], [-1.5, -0.3]], dtype=torch.float64)
SHAKE = torch.tensor([[0.9, 0.0], [0.5, 0.6]], dtype=torch.float64)
DRIFT = torch.tensor([0.3, -0.2], dtype=torch.float64)
NOISE = torch.tensor([[0.5, 0.0], [-0.3, 0.4]], dtype=torch.float64)


def turning() -> tuple[LinearSDE, Score]:
    """The process, and the score of x_t given x_0 = `PLACE`."""
    process = LinearSDE(2, lambda t: TURN * (1 + t), lambda t: SHAKE * (0.5 + t))
    point = Mixture(torch.ones(1), torch.tensor([PLACE], dtype=torch.float64), torch.zeros(1, 2, 2))
    return process, process.score_of(point)


@dataclass(frozen=True)
class Growing:
    """Geometric Brownian motion of points (n, 2), whose coordinates keep their signs."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """a x: the shape of `x`."""
        return DRIFT.to(x) * x

    def dispersion(self, x: Tensor, t: Tensor) -> Tensor:
        """diag(x) B: (n, 2, 2)."""
        return x[..., None] * NOISE.to(x)

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given `x0` (n, 2)."""
        t = as_time(t, x0).to(x0.dtype)
        z = as_rng(rng).normal(x0.shape, dtype=x0.dtype, device=x0.device)
        return x0 * torch.exp((DRIFT - NOISE.square().sum(1) / 2).to(x0) * t + t.sqrt() * z @ NOISE.T.to(x0))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """grad log p of x_t = `x` given x_0 = `PLACE`: the shape of `x`."""
        place = torch.tensor(PLACE, dtype=x.dtype)
        off = (x / place).log() - (DRIFT - NOISE.square().sum(1) / 2).to(x) * t
        return -(1 + off @ torch.linalg.inv(NOISE @ NOISE.T).to(x) / t) / x
