"""Log-likelihood by the probability-flow ODE, in nats per item of the encoded data.

With y = x / alpha and lambda = log(sigma / alpha) the ODE is dy/dlambda = y - D(x, t), so that log p(y_0) = log p(y_1)
+ int (d - tr dD/dy) dlambda (Chen et al. 2018, arXiv 1806.07366; Song et al. 2021, arXiv 2011.13456, equation 39). The
trace is exact, one backward pass per coordinate, up to `EXACT_UP_TO` coordinates; beyond that it is Hutchinson's
estimate, v^T (dD/dy) v averaged over several Rademacher probes v (Grathwohl et al. 2019, arXiv 1810.01367), which is
unbiased for log p and has a standard error. The way starts at a small noise level, so the value is the density of the
data blurred by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.randomness import Rng, as_rng
from driftback.scores.denoiser import Denoiser
from driftback.shapes import sum_event

EXACT_UP_TO = 16
MOST_PROBED = 1 << 17
"""Probes times coordinates: 8 probes up to 16,384 coordinates, and never under 2, which a standard error needs. The
error falls with the number of coordinates too, over which a probe averages."""


def probes_for(d: int) -> int:
    """How many probes an estimate for `d` coordinates takes."""
    return max(2, min(8, MOST_PROBED // d))


@dataclass(frozen=True)
class LogLikelihood:
    """`nats` (n,) float64 per item of the encoded data, and the standard error of the method's own randomness."""

    nats: Tensor
    error: Tensor
    method: str
    evaluations: int
    """Evaluations of the denoiser per item."""

    @property
    def mean(self) -> float:
        """The mean over the items."""
        return float(self.nats.mean())

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean, over items and the method's randomness together; None for one item."""
        return float(self.nats.std() / math.sqrt(len(self.nats))) if len(self.nats) > 1 else None


def ode_log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    spread: float = 1.0,
    low: float = 1e-3,
    steps: int = 64,
    probes: int | None = None,
    rng: Rng | int | None = None,
) -> LogLikelihood:
    """log p(x0) for `x0` (n, *event), by `steps` steps of the classical Runge-Kutta rule in lambda.

    `low` is the noise level to start from in units of `spread`, the standard deviation of the data; the far end is
    compared with N(m, (spread^2 + r^2) I), m = D(0) there being the data's mean: left out, it would cost m z / r nats.
    `probes` >= 2 is the number of Hutchinson's probes (default: `probes_for`).
    """
    process = denoiser.process
    top = min(float(process.ratio(1.0)), 200 * spread)
    grid = torch.linspace(math.log(low * spread), math.log(top), steps + 1, dtype=torch.float64)
    d = math.prod(x0.shape[1:])
    exact = d <= EXACT_UP_TO
    probes = probes or probes_for(d)
    vectors = _basis(x0) if exact else _rademacher(x0, probes, as_rng(rng))

    def slope(y: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        t = process.time_of(clock.exp())
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            denoised = denoiser.denoised(y * process.alpha(t).to(y.dtype), t)
            products = [torch.autograd.grad(denoised, y, v, retain_graph=True)[0] * v for v in vectors]
        traces = torch.stack([sum_event(p).double() for p in products])
        traces = traces.sum(0, keepdim=True) if exact else traces
        return (y - denoised).detach(), d - traces

    y, integral = x0, torch.zeros(1 if exact else probes, len(x0), dtype=torch.float64, device=x0.device)
    for a, b in pairwise(grid):
        h = float(b - a)
        k1, d1 = slope(y, a)
        k2, d2 = slope(y + h / 2 * k1, (a + b) / 2)
        k3, d3 = slope(y + h / 2 * k2, (a + b) / 2)
        k4, d4 = slope(y + h * k3, b)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        integral = integral + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    variance = spread**2 + top**2
    with torch.no_grad():
        centre = denoiser.denoised(torch.zeros_like(y), process.time_of(top))
    end = -sum_event((y - centre).double() ** 2) / (2 * variance) - d / 2 * math.log(2 * math.pi * variance)
    nats = end + integral.mean(0)
    error = torch.zeros_like(nats) if exact else integral.std(0) / math.sqrt(probes)
    name = "probability-flow ODE, exact divergence" if exact else f"probability-flow ODE, Hutchinson, {probes} probes"
    return LogLikelihood(nats, error, name, 4 * steps * (1 + len(vectors)))


def _basis(x0: Tensor) -> list[Tensor]:
    eye = torch.eye(math.prod(x0.shape[1:]), dtype=x0.dtype, device=x0.device)
    return [e.reshape(1, *x0.shape[1:]).expand_as(x0) for e in eye]


def _rademacher(x0: Tensor, probes: int, rng: Rng) -> list[Tensor]:
    signs = (rng.child("probe", k).uniform(x0.shape, device=x0.device) < 0.5 for k in range(probes))
    return [1 - 2 * sign.to(x0.dtype) for sign in signs]
