"""A fault of processes whose noise depends on the point: ordinary calculus where Ito's is due."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from driftback.evaluation.verification.known import DRIFT, NOISE, Growing
from driftback.randomness import Rng, as_rng
from driftback.shapes import as_time


@dataclass(frozen=True)
class Ordinary(Growing):
    """x_t = x_0 exp(a t + B W), which is right for Stratonovich's noise, not for Ito's."""

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        t = as_time(t, x0).to(x0.dtype)
        z = as_rng(rng).normal(x0.shape, dtype=x0.dtype, device=x0.device)
        return x0 * (DRIFT.to(x0) * t + t.sqrt() * z @ NOISE.T.to(x0)).exp()
