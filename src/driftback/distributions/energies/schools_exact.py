"""The eight schools' posterior without a chain: given tau everything is normal, and over tau there is one integral.

With v_j = sigma_j^2 + tau^2 and y_j | mu, tau ~ N(mu, v_j): mu | tau, y ~ N(m, 1/P), P = 1/s^2 + sum_j 1/v_j,
m = sum_j (y_j / v_j) / P; log p(y | tau) = -sum_j [log(2 pi v_j) + y_j^2 / v_j] / 2 - log(s^2 P) / 2 + P m^2 / 2; and
theta_j | mu, tau, y ~ N((tau^2 y_j + sigma_j^2 mu) / v_j, tau^2 sigma_j^2 / v_j) (Gelman et al. 2013, 'Bayesian Data
Analysis', section 5.4, here with a prior N(0, s^2) on mu). tau is drawn first, by its inverse CDF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.energies.line import Line
from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng

LOW, HIGH = -40.0, 12.0
"""The ends of log tau: below there is e^-40 of the prior, above less of the posterior for errors up to thousands."""


@dataclass(frozen=True, eq=False)
class Exact:
    """Given `effects` and `errors` (schools,) float64, with prior scale `scale` of mu and tau."""

    effects: Tensor
    errors: Tensor
    scale: float

    def __post_init__(self) -> None:
        if self.effects.ndim != 1:
            raise BadInput(f"the effects have shape {tuple(self.effects.shape)}; give one data set, (schools,)")

    @cached_property
    def line(self) -> Line:
        """The posterior of log tau."""
        return Line(self._log_density, LOW, HIGH)

    @property
    def log_z(self) -> float:
        """The log-evidence, in nats."""
        return self.line.log_z

    @cached_property
    def mean(self) -> Tensor:
        """Posterior means (2 + schools,) of mu, tau and all theta."""
        return self.line.expectation(lambda log_tau: self._moments(log_tau)[0])

    @cached_property
    def deviation(self) -> Tensor:
        """Posterior deviations (2 + schools,) of mu, tau and all theta."""

        def spread(log_tau: Tensor) -> Tensor:
            mean, variance = self._moments(log_tau)
            return variance + (mean - self.mean) ** 2

        return self.line.expectation(spread).sqrt()

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points (mu, log tau, eta), (n, 2 + schools) float64, exact to the rounding of tau's CDF, 1e-13."""
        rng = as_rng(rng)
        log_tau = self.line.quantile(rng.child("tau").uniform((n,), dtype=torch.float64))
        noise = rng.child("noise").normal((n, 1 + len(self.errors)), dtype=torch.float64)
        variance, precision, centre = self._given(log_tau)
        mu = centre + noise[:, 0] / precision.sqrt()
        # theta - mu over tau, written so that tau may be 0.
        eta = log_tau.exp()[:, None] * (self.effects - mu[:, None]) / variance
        eta = eta + self.errors / variance.sqrt() * noise[:, 1:]
        return torch.cat([mu[:, None], log_tau[:, None], eta], 1)

    def _given(self, log_tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v (n, schools), and P and m (n,), at `log_tau` (n,)."""
        variance = self.errors**2 + (2 * log_tau).exp()[:, None]
        precision = (1 / variance).sum(1) + 1 / self.scale**2
        return variance, precision, (self.effects / variance).sum(1) / precision

    def _log_density(self, log_tau: Tensor) -> Tensor:
        variance, precision, centre = self._given(log_tau)
        evidence = -(variance.log() + LOG_TWO_PI + self.effects**2 / variance).sum(1) / 2
        evidence = evidence - (self.scale**2 * precision).log() / 2 + precision * centre**2 / 2
        tau = log_tau.exp()
        return evidence + math.log(2 / (math.pi * self.scale)) - torch.log1p((tau / self.scale) ** 2) + log_tau

    def _moments(self, log_tau: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances (n, 2 + schools) of mu, tau and all theta given `log_tau` (n,)."""
        variance, precision, centre = self._given(log_tau)
        squared = (2 * log_tau).exp()[:, None]
        share = self.errors**2 / variance
        theta = squared * self.effects / variance + share * centre[:, None]
        spread = squared * share + share**2 / precision[:, None]
        tau = log_tau.exp()[:, None]
        mean = torch.cat([centre[:, None], tau, theta], 1)
        return mean, torch.cat([1 / precision[:, None], torch.zeros_like(tau), spread], 1)
