"""Built-in shapes in the plane, every one with its exact density, so that a fit can be judged against the truth.

Three kinds cover them: a mixture, a curve with Gaussian noise (p(x) = int N(x; c(u), s^2 I) du, by Gauss-Legendre
quadrature on panels about three deviations long), and shapes whose density is a formula in polar coordinates or
on squares. The constants are ours and stated at each shape; where one is known from elsewhere, it says what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.mixture import Mixture
from driftback.distributions.protocols import Density, Source
from driftback.randomness import Rng, as_rng

Curve = Callable[[Tensor], Tensor]
"""u in [0, 1], (n,), to points of the plane, (n, 2)."""


class Shape(Source, Density, Protocol):
    """Something to draw from whose density is known."""


@dataclass(frozen=True)
class NoisyCurves:
    """One of `curves`, each as likely, at a uniform u in [0, 1], plus Gaussian noise of standard deviation `deviation`.

    Curves are smooth but for a kink allowed at u = 1/2. Draws are float64.
    """

    curves: tuple[Curve, ...]
    deviation: float

    event_shape = (2,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, 2)."""
        rng = as_rng(rng)
        which = (rng.child("curve").uniform((n,), dtype=torch.float64) * len(self.curves)).long()
        u = rng.child("place").uniform((n,), dtype=torch.float64)
        noise = rng.child("noise").normal((n, 2), dtype=torch.float64)
        places = torch.stack([curve(u) for curve in self.curves])
        return places[which, torch.arange(n)] + self.deviation * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, 2), as (n,) float64."""
        places, log_weights = (part.to(x.device) for part in self._quadrature)
        parts = [
            (log_weights - torch.cdist(chunk, places) ** 2 / (2 * self.deviation**2)).logsumexp(1)
            for chunk in x.double().split(2048)
        ]
        return torch.cat(parts) - LOG_TWO_PI - 2 * math.log(self.deviation)

    @cached_property
    def _quadrature(self) -> tuple[Tensor, Tensor]:
        fine = torch.linspace(0, 1, 2001, dtype=torch.float64)
        longest = max(float((curve(fine).diff(dim=0).norm(dim=1)).max()) * 2000 for curve in self.curves)
        # Sixteen nodes for every three deviations leave 1e-13 of log p near the curve, 1e-5 where it is below -400.
        # An even number of panels puts a border on u = 1/2, where a curve may have its kink.
        panels = 2 * math.ceil(longest / (6 * self.deviation))
        node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(16))
        u = ((torch.arange(panels)[:, None] + (node + 1) / 2) / panels).flatten()
        weights = (weight / 2 / panels).repeat(panels * len(self.curves)) / len(self.curves)
        return torch.cat([curve(u) for curve in self.curves]), weights.log()


@dataclass(frozen=True)
class Rings:
    """Circles of `radii` about the origin, each as likely; the radius has Gaussian noise `deviation`.

    p(x) = mean_k [N(|x|; R_k, s^2) + N(-|x|; R_k, s^2)] / (2 pi |x|): a negative radius is the opposite point.
    Draws are float64.
    """

    radii: tuple[float, ...] = (1.0, 2.0, 3.0)
    deviation: float = 0.1

    event_shape = (2,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, 2)."""
        rng = as_rng(rng)
        which = (rng.child("ring").uniform((n,), dtype=torch.float64) * len(self.radii)).long()
        angle = 2 * math.pi * rng.child("angle").uniform((n,), dtype=torch.float64)
        noise = rng.child("noise").normal((n,), dtype=torch.float64)
        radius = torch.tensor(self.radii, dtype=torch.float64)[which] + self.deviation * noise
        return radius[:, None] * _direction(angle)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, 2), as (n,) float64."""
        radius = x.double().norm(dim=1)[:, None]
        signed = torch.stack([radius, -radius], 2)
        squares = (signed - torch.tensor(self.radii, dtype=torch.float64, device=x.device)[:, None]) ** 2
        density = (-squares / (2 * self.deviation**2)).flatten(1).logsumexp(1) - math.log(len(self.radii))
        return density - LOG_TWO_PI * 1.5 - math.log(self.deviation) - radius[:, 0].log()


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on every second square, of side 2, of the board [-4, 4]^2; the square at the origin's upper right is one.

    The density is 1/32 on the board's chosen squares and 0 elsewhere (log-density minus infinity). Draws are float64.
    """

    event_shape = (2,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, 2)."""
        u = 8 * as_rng(rng).uniform((n, 2), dtype=torch.float64) - 4
        column = (u[:, 0] / 2).floor()
        # The height is drawn as if the column's four squares were two; each pair of rows holds one chosen square.
        row = (u[:, 1] / 4).floor() * 2 + (column.long() % 2)
        return torch.stack([u[:, 0], row * 2 + (u[:, 1] % 4) / 2], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, 2), as (n,) float64."""
        x = x.double()
        chosen = (x >= -4).all(1) & (x < 4).all(1) & ((x / 2).floor().sum(1) % 2 == 0)
        return torch.where(chosen, -math.log(32), -math.inf)


@dataclass(frozen=True)
class Twisted:
    """Points of `untwisted`, each turned about the origin by `turn` radians per unit of its distance, in float64.

    Such a twist keeps every small area, so the density at x is that of `untwisted` at x turned back.
    """

    untwisted: Mixture
    turn: float

    event_shape = (2,)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, 2)."""
        return self._turned(self.untwisted.sample(n, rng=rng), self.turn)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, 2), as (n,) float64."""
        return self.untwisted.log_prob(self._turned(x.double(), -self.turn))

    def _turned(self, x: Tensor, turn: float) -> Tensor:
        angle = turn * x.norm(dim=1)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)


def _direction(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)


def two_gaussians() -> Mixture:
    """Two round Gaussians at (-2, 0) and (2, 0) with standard deviation 1/2, each as likely."""
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    return Mixture(torch.ones(2), means, 0.25 * torch.eye(2).expand(2, 2, 2))


def eight_gaussians() -> Mixture:
    """Eight round Gaussians on a circle of radius 5, each with *variance* 0.1 a coordinate: standard deviation 0.316.

    The common generators differ here: one of them, asked for var = 0.1, draws with standard deviation 0.562.
    """
    means = 5 * _direction(torch.arange(8, dtype=torch.float64) * math.pi / 4)
    return Mixture(torch.ones(8), means, 0.1 * torch.eye(2).expand(8, 2, 2))


def two_moons() -> NoisyCurves:
    """Two half circles of radius 1, the lower one moved by (1, 1/2), noise 0.1: scikit-learn's, with uniform angles."""
    return NoisyCurves(
        (
            lambda u: _direction(math.pi * u),
            lambda u: torch.tensor([1.0, 0.5], dtype=torch.float64) - _direction(math.pi * u),
        ),
        0.1,
    )


def swiss_roll() -> NoisyCurves:
    """(a cos a, a sin a) / 5 for uniform angles a from 1.5 pi to 4.5 pi, noise 0.1: scikit-learn's x and z over 5."""

    def roll(u: Tensor) -> Tensor:
        angle = 1.5 * math.pi * (1 + 2 * u)
        return angle[:, None] / 5 * _direction(angle)

    return NoisyCurves((roll,), 0.1)


def spirals() -> NoisyCurves:
    """Two arms of radius angle / pi, opposite to one another, for uniform angles from pi / 2 to 3 pi, noise 0.1."""

    def arm(u: Tensor) -> Tensor:
        angle = math.pi * (0.5 + 2.5 * u)
        return angle[:, None] / math.pi * _direction(angle)

    return NoisyCurves((arm, lambda u: -arm(u)), 0.1)


def s_curve() -> NoisyCurves:
    """(sin a, sign(a) (cos a - 1)) for uniform angles a from -1.5 pi to 1.5 pi, noise 0.1: scikit-learn's x and z."""

    def bend(u: Tensor) -> Tensor:
        angle = 3 * math.pi * (u - 0.5)
        return torch.stack([angle.sin(), angle.sign() * (angle.cos() - 1)], 1)

    return NoisyCurves((bend,), 0.1)


def pinwheel() -> Twisted:
    """Five blades: Gaussians at distance 2 with standard deviation 0.6 along and 0.2 across, turned by 0.5 a unit.

    After Johnson et al. (2016, arXiv 1603.06277), whose twist depends on the blade's own coordinate instead of the
    distance, which leaves no formula for the density.
    """
    out = _direction(torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5)
    across = torch.stack([-out[:, 1], out[:, 0]], 1)
    covariances = 0.36 * out[:, :, None] * out[:, None] + 0.04 * across[:, :, None] * across[:, None]
    return Twisted(Mixture(torch.ones(5), 2 * out, covariances), 0.5)


SHAPES: dict[str, Callable[[], Shape]] = {
    "two-gaussians": two_gaussians,
    "eight-gaussians": eight_gaussians,
    "two-moons": two_moons,
    "swiss-roll": swiss_roll,
    "spirals": spirals,
    "s-curve": s_curve,
    "rings": Rings,
    "checkerboard": Checkerboard,
    "pinwheel": pinwheel,
}
