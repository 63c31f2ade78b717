"""Eight schools: the standard small hierarchical model, non-centred, with its data and its generative story.

mu ~ N(0, 5^2), tau ~ half-Cauchy(0, 5), eta_j ~ N(0, 1), theta_j = mu + tau eta_j, y_j ~ N(theta_j, sigma_j^2)
(Rubin 1981; Gelman et al. 2013, 'Bayesian Data Analysis', section 5.5; priors as in posteriordb's
`eight_schools_noncentered`). A point is (mu, log tau, eta_1, ..., eta_8), so the density has the Jacobian tau.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.energies.schools_exact import Exact
from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng

SCALE = 5.0
"""The prior's deviation of mu, and its scale of tau."""
EFFECTS = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
ERRORS = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Schools:
    """The posterior given `effects`, (schools,), with standard errors `errors` (schools,); exact draws are float64.

    The evidence is its integral: all densities are normalised. For log_prob and score `effects` may also be
    (n, schools), a data set for each of n points, as simulation-based calibration has them.
    """

    effects: Tensor = field(default_factory=lambda: EFFECTS)
    errors: Tensor = field(default_factory=lambda: ERRORS)

    def __post_init__(self) -> None:
        if self.errors.ndim != 1 or self.effects.shape[-1:] != self.errors.shape or not (self.errors > 0).all():
            shapes = f"{tuple(self.effects.shape)} and {tuple(self.errors.shape)}"
            raise BadInput(f"schools have effects and errors of shapes {shapes}; give as many, and errors > 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(2 + schools,)."""
        return (2 + len(self.errors),)

    @cached_property
    def exact(self) -> Exact:
        """The posterior by one integral over tau. BadInput for more than one data set."""
        return Exact(self.effects.double(), self.errors.double(), SCALE)

    @cached_property
    def constant(self) -> float:
        """What does not hang on the point, in nats."""
        normals = (2 * len(self.errors) + 1) * LOG_TWO_PI / 2
        return math.log(2 / (math.pi * SCALE**2)) - float(self.errors.log().sum()) - normals

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points of the posterior, (n, 2 + schools)."""
        return self.exact.sample(n, rng=rng)

    def prior_draws(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points of the prior, (n, 2 + schools) float64."""
        rng = as_rng(rng)
        x = rng.child("noise").normal((n, *self.event_shape), dtype=torch.float64)
        u = rng.child("tau").uniform((n,), dtype=torch.float64)
        x[:, 0] *= SCALE
        # 1 - u is above 0, so the logarithm is finite.
        x[:, 1] = (SCALE * torch.tan(math.pi / 2 * (1 - u))).log()
        return x

    def simulate(self, x: Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Data (n, schools) from the model at `x` (n, 2 + schools), a data set for each point, of its dtype."""
        noise = as_rng(rng).normal((len(x), len(self.errors)), dtype=x.dtype, device=x.device)
        return means(x) + self.errors.to(x) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """The log of prior times likelihood, in nats, at `x` (n, 2 + schools), as (n,) of its dtype."""
        mu, log_tau, eta = x[:, 0], x[:, 1], x[:, 2:]
        residual = (self.effects.to(x) - means(x)) / self.errors.to(x)
        squares = (mu / SCALE) ** 2 + (eta**2).sum(1) + (residual**2).sum(1)
        # The half-Cauchy density 2 / (pi s (1 + tau^2 / s^2)), times tau for the logarithm.
        cauchy = log_tau - torch.nn.functional.softplus(2 * (log_tau - math.log(SCALE)))
        return cauchy - squares / 2 + self.constant

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, 2 + schools), of its shape and dtype."""
        return self.log_prob_and_score(x)[1]

    def log_prob_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once, for half the work."""
        mu, log_tau, eta = x[:, :1], x[:, 1:2], x[:, 2:]
        errors = self.errors.to(x)
        tau, above = log_tau.exp(), 2 * (log_tau - math.log(SCALE))
        residual = torch.addcmul(mu - self.effects.to(x), tau, eta) / -errors
        pull = residual / errors
        cauchy = log_tau - torch.nn.functional.softplus(above)
        squares = torch.cat([mu / SCALE, eta, residual], 1).square().sum(1)
        by_tau = torch.addcmul(1 - 2 * torch.sigmoid(above), tau, (pull * eta).sum(1, keepdim=True))
        slope = torch.cat([pull.sum(1, keepdim=True) - mu / SCALE**2, by_tau, torch.addcmul(-eta, tau, pull)], 1)
        return cauchy[:, 0] - squares / 2 + self.constant, slope


def means(x: Tensor) -> Tensor:
    """The schools' true effects theta (n, schools) at the points `x` (n, 2 + schools)."""
    return x[:, :1] + x[:, 1:2].exp() * x[:, 2:]


def quantities(x: Tensor) -> Tensor:
    """mu, tau and theta_1, theta_2, ... at the points `x` (n, 2 + schools), of its shape."""
    return torch.cat([x[:, :1], x[:, 1:2].exp(), means(x)], 1)


def schools(effects: Tensor | None = None, errors: Tensor | None = None) -> Problem:
    """The problem for one data set, Rubin's eight schools by default; its truth is exact, for any data.

    BadInput if shapes disagree or an error is not positive.
    """
    law = Schools(EFFECTS if effects is None else effects, ERRORS if errors is None else errors)
    exact = law.exact
    thetas = tuple(f"theta_{j + 1}" for j in range(len(law.errors)))
    return Problem(
        law,
        "eight-schools",
        Truth(exact.log_z, exact.mean, exact.deviation, source="one-dimensional quadrature over log tau"),
        ("mu", "tau", *thetas),
        quantities,
        source="Rubin 1981; priors and form of posteriordb's eight_schools_noncentered",
    )
