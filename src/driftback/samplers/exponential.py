"""The part of the way back that is linear in x is integrated exactly; what is left is an integral over one unknown.

With y = x / alpha and r = sigma / alpha the reverse equation with noise level eta (see `driftback.processes.sde`) is
dy = (1 + eta^2) (y - D) / r dr + eta sqrt(2 r) dB, r falling. Its two exact forms are, with p = 1 + eta^2,

    data:   y_s = (r_s/r_t)^p y_t + r_s^p int_t^s D d(r^-p) + r_s sqrt(1 - (r_s/r_t)^(2 eta^2)) z
    noise:  y_s = y_t + p int_t^s eps dr + eta sqrt(r_t^2 - r_s^2) z

for D = E[x_0 | x] and eps = (y - D) / r (Lu et al. 2022, arXiv 2211.01095, propositions 4.1 and 4.2; Gonzalez et al.
2023, arXiv 2305.14267, proposition 4.1; eta = 0 the ODE, eta = 1 Anderson's SDE). A multistep method replaces D or eps
in the integral by a polynomial, in some clock u(r), through its past values: the weights are then integrals of Lagrange
polynomials, found here by Gauss-Legendre quadrature in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

Clock = Callable[[np.ndarray], np.ndarray]
"""A strictly monotone function of the ratio r = sigma / alpha >= 0; what is interpolated is a polynomial in it."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def log_ratio(ratio: np.ndarray) -> np.ndarray:
    """log r, minus half the log of the signal-to-noise ratio: infinite at both singular ends, r = 0 and r = inf."""
    with np.errstate(divide="ignore"):
        return np.log(ratio)


def plain_ratio(ratio: np.ndarray) -> np.ndarray:
    """r itself: EDM's time."""
    return np.asarray(ratio, dtype=float)


@dataclass(frozen=True)
class Bounded:
    """1 / sqrt(scale^2 + r^2): finite at both ends, so that no order is lost there.

    For Gaussian data of standard deviation `scale`, D is linear in it all along the exact way of the ODE, and so is
    integrated exactly by two points.
    """

    scale: float

    def __call__(self, ratio: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt(self.scale**2 + np.asarray(ratio, dtype=float) ** 2)


@dataclass(frozen=True)
class Level:
    """A time, as a step sees it: `alpha`, `sigma` and their ratio, which is inf where alpha is 0."""

    t: float
    alpha: float
    sigma: float

    @property
    def ratio(self) -> float:
        """sigma / alpha."""
        return self.sigma / self.alpha if self.alpha else math.inf


class Form(Hashable, Protocol):
    """How the linear part is split off: what a step keeps of x, and what its integral weighs."""

    def usable(self, now: Level) -> bool:
        """Whether a step may begin at `now`."""
        ...

    def value(self, x: Tensor, denoised: Tensor, now: Level) -> Tensor:
        """What stands in the integral, from x and D: the shape of `x`."""
        ...

    def carry(self, now: Level, after: Level, noise: float) -> float:
        """The factor on x_t in x_s."""
        ...

    def deviation(self, now: Level, after: Level, noise: float) -> float:
        """The standard deviation of the fresh noise in x_s."""
        ...

    def measure(self, now: Level, after: Level, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Ratios between the two levels and weights, so that sum of weights times f(ratios) is f's part in x_s."""
        ...


@dataclass(frozen=True)
class Data:
    """The exact form in D: bounded, and exact from pure noise (alpha = 0) and into no noise (sigma = 0)."""

    def usable(self, now: Level) -> bool:
        return now.sigma > 0

    def value(self, x: Tensor, denoised: Tensor, now: Level) -> Tensor:
        return denoised

    def carry(self, now: Level, after: Level, noise: float) -> float:
        falling = after.ratio / now.ratio if now.alpha else 0.0
        return after.sigma / now.sigma * falling ** (noise**2)

    def deviation(self, now: Level, after: Level, noise: float) -> float:
        if not noise:
            return 0.0
        falling = after.ratio / now.ratio if now.alpha else 0.0
        return after.sigma * math.sqrt(1 - falling ** (2 * noise**2))

    def measure(self, now: Level, after: Level, noise: float) -> tuple[np.ndarray, np.ndarray]:
        power = 1 + noise**2
        if after.sigma == 0:
            return np.zeros(1), np.array([after.alpha])
        if now.alpha == 0:
            # In v = (r_s / r)^p, which begins at 0.
            v = (_NODES + 1) / 2
            return after.ratio * v ** (-1 / power), after.alpha * _WEIGHTS / 2
        log_t, log_s = math.log(now.ratio), math.log(after.ratio)
        logs = (log_t + log_s) / 2 + (log_s - log_t) / 2 * _NODES
        weights = (log_t - log_s) / 2 * _WEIGHTS * power * np.exp(power * (log_s - logs))
        return np.exp(logs), after.alpha * weights


@dataclass(frozen=True)
class Noise:
    """The exact form in eps: needs alpha > 0, so that a first step from pure noise is left to `Data`."""

    def usable(self, now: Level) -> bool:
        return now.alpha > 0

    def value(self, x: Tensor, denoised: Tensor, now: Level) -> Tensor:
        return (x - now.alpha * denoised) / now.sigma

    def carry(self, now: Level, after: Level, noise: float) -> float:
        return after.alpha / now.alpha

    def deviation(self, now: Level, after: Level, noise: float) -> float:
        return noise * after.alpha * math.sqrt(now.ratio**2 - after.ratio**2)

    def measure(self, now: Level, after: Level, noise: float) -> tuple[np.ndarray, np.ndarray]:
        width = after.ratio - now.ratio
        ratios = now.ratio + width * (_NODES + 1) / 2
        return ratios, after.alpha * (1 + noise**2) * width * _WEIGHTS / 2


DATA, NOISE = Data(), Noise()


def weights(
    form: Form, clock: Clock, noise: float, now: Level, after: Level, known: Sequence[float], *, halved: bool = False
) -> list[float]:
    """The factors on the values at the ratios `known` in x_s, for the polynomial in `clock` through these values.

    `halved`: a line is weighed as if its slope counted half a step, not by its exact integral.
    """
    ratios, measure = form.measure(now, after, noise)
    if len(known) == 1:
        return [float(measure.sum())]
    nodes = clock(np.asarray(known, dtype=float))
    if halved and len(known) == 2:
        start, end = clock(np.array([now.ratio, after.ratio]))
        places = np.array([(start + end) / 2])
        measure = np.array([measure.sum()])
    else:
        places = clock(ratios)
    basis = [
        np.prod([(places - other) / (node - other) for i, other in enumerate(nodes) if i != j], axis=0)
        for j, node in enumerate(nodes)
    ]
    return [float(measure @ one) for one in basis]
