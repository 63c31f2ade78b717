"""The Gaussian diffusion x_t = alpha(t) x_0 + sigma(t) eps, as a process and as an SDE, for every schedule.

The SDE with these marginals is dx = f(t) x dt + g(t) dW with f = (log alpha)' and g^2 = (sigma^2)' - 2 f sigma^2 =
2 sigma^2 (log sigma/alpha)' (Kingma et al. 2021, arXiv 2107.00630, appendix B). Given both ends of a step, the point
between is Gaussian: x_s | x_0, x_t, with s < t, has a = alpha_t/alpha_s, v = sigma_t^2 - a^2 sigma_s^2,
mean (a sigma_s^2 x_t + alpha_s v x_0) / sigma_t^2 and variance v sigma_s^2 / sigma_t^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.gaussian import IsotropicGaussian
from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.processes.schedules import Schedule
from driftback.randomness import Rng, as_rng
from driftback.shapes import as_time, per_item


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    with torch.enable_grad():
        t = t.detach().requires_grad_(True)
        value = function(t)
        if not value.requires_grad:
            return torch.zeros_like(t)
        (slope,) = torch.autograd.grad(value.sum(), t)
    return slope


@dataclass(frozen=True)
class Diffusion:
    """Noise mixed by `schedule` into data of shape `event_shape` and standard deviation `spread`.

    `spread` only sets the simple distribution at t = 1: N(0, (alpha_1^2 spread^2 + sigma_1^2) I), the law of x_1 with
    its first two moments matched for centred data.
    """

    schedule: Schedule
    event_shape: tuple[int, ...]
    spread: float = 1.0

    def alpha(self, t: float | Tensor) -> Tensor:
        """alpha at times `t` in [0, 1], float64, in the shape of `t`."""
        return self.schedule.alpha(torch.as_tensor(t, dtype=torch.float64))

    def sigma(self, t: float | Tensor) -> Tensor:
        """sigma at times `t` in [0, 1], float64, in the shape of `t`."""
        return self.schedule.sigma(torch.as_tensor(t, dtype=torch.float64))

    def ratio(self, t: float | Tensor) -> Tensor:
        """sigma / alpha at times `t` in [0, 1], float64, in the shape of `t`; infinite where alpha vanishes."""
        return self.sigma(t) / self.alpha(t)

    def time_of(self, ratio: float | Tensor) -> Tensor:
        """The time at which sigma / alpha is `ratio`, float64; outside [0, 1] for ratios that are never reached."""
        return self.schedule.time_of(torch.as_tensor(ratio, dtype=torch.float64))

    @property
    def simple(self) -> IsotropicGaussian:
        """The distribution to start the way back from (see the class)."""
        return self.simple_at(1.0)

    def simple_at(self, t: float) -> IsotropicGaussian:
        """The Gaussian with the first two moments of x_t for centred data, for grids that start before t = 1."""
        variance = self.alpha(t) ** 2 * self.spread**2 + self.sigma(t) ** 2
        return IsotropicGaussian(self.event_shape, float(variance.sqrt()))

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given `x0` (n, *event) at times `t`, () or (n,)."""
        t = as_time(t, x0)
        noise = as_rng(rng).normal(x0.shape, dtype=x0.dtype, device=x0.device)
        return per_item(self.alpha(t), x0) * x0 + per_item(self.sigma(t), x0) * noise

    def marginal(self, mixture: Mixture, t: float | Tensor) -> Mixture:
        """The exact law of x_t when x_0, flattened, is drawn from `mixture`; `t` is one time."""
        return mixture.noised(self.alpha(t), self.sigma(t))

    def bridge_moments(self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, *event) and standard deviation (float64, as `t`) of x_s given x_0 and x_t, for 0 <= s < t <= 1."""
        t, s = as_time(t, x_t), as_time(s, x_t)
        if not bool((s <= t).all()):
            raise BadInput("a bridge leads back in time; give s below t")
        a = self.alpha(t) / self.alpha(s)
        var_s, var_t = self.sigma(s) ** 2, self.sigma(t) ** 2
        v = (var_t - a**2 * var_s).clamp(min=0)
        mean = per_item(a * var_s / var_t, x_t) * x_t + per_item(self.alpha(s) * v / var_t, x_t) * x0
        return mean, torch.sqrt(v * var_s / var_t)

    def bridge(
        self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor, *, rng: Rng | int | None = None
    ) -> Tensor:
        """Draw x_s given x_0 and x_t, for 0 <= s < t <= 1."""
        mean, deviation = self.bridge_moments(x0, x_t, t, s)
        noise = as_rng(rng).normal(x_t.shape, dtype=x_t.dtype, device=x_t.device)
        return mean + per_item(deviation, x_t) * noise

    def slopes(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t), float64, in the shape of `t`."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return _derivative(self.schedule.alpha, t), _derivative(self.schedule.sigma, t)

    def rate(self, t: float | Tensor) -> Tensor:
        """f(t) = d log alpha / dt, float64; minus infinity where alpha vanishes."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return _derivative(self.schedule.alpha, t) / self.schedule.alpha(t)

    def drift(self, x: Tensor, t: float | Tensor) -> Tensor:
        """f(t) x at `x` (n, *event), `t` in [0, 1], () or (n,): the shape of `x`; infinite where alpha vanishes."""
        return per_item(self.rate(as_time(t, x)), x) * x

    def diffusion(self, t: float | Tensor) -> Tensor:
        """g(t), float64, in the shape of `t`; infinite where alpha vanishes."""
        # A root has no slope at 0, so there the limit is taken from a time that is 0 to the last bit.
        t = torch.as_tensor(t, dtype=torch.float64).clamp(min=1e-30)
        variance_slope = _derivative(lambda u: self.schedule.sigma(u) ** 2, t)
        g2 = variance_slope - 2 * self.rate(t) * self.schedule.sigma(t) ** 2
        return torch.sqrt(g2.clamp(min=0))
