"""Schedules: how much of the data is left, alpha(t), and how much noise is there, sigma(t), for t in [0, 1].

Every schedule gives x_t = alpha(t) x_0 + sigma(t) eps with eps ~ N(0, I); t = 0 is data and t = 1 is simple. The ratio
sigma / alpha rises strictly with t, so that it can be used as the clock (Karras et al. 2022, arXiv 2206.00364, section
3). Times go in and coefficients come out as float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from driftback.errors import BadInput


@runtime_checkable
class Schedule(Protocol):
    """alpha(t) and sigma(t), and the time at which their ratio takes a given value."""

    def alpha(self, t: Tensor) -> Tensor:
        """The factor on x_0 at times `t` in [0, 1]."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's standard deviation at times `t` in [0, 1]."""
        ...

    def time_of(self, ratio: Tensor) -> Tensor:
        """The time at which sigma / alpha equals `ratio` > 0; the inverse of the ratio, exact in [0, 1]."""
        ...


def _refuse(name: str, low: float, high: float) -> None:
    if not 0 <= low < high < math.inf:
        raise BadInput(f"{name} goes from {low} to {high}; give numbers 0 <= low < high")


@dataclass(frozen=True)
class VP:
    """Variance preserving with beta(t) = low + (high - low) t (Song et al. 2021, arXiv 2011.13456, equation 33)."""

    low: float = 0.1
    high: float = 20.0

    def __post_init__(self) -> None:
        _refuse("beta", self.low, self.high)

    def _integral(self, t: Tensor) -> Tensor:
        return t * self.low + t * t * (self.high - self.low) / 2

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def time_of(self, ratio: Tensor) -> Tensor:
        total = torch.log1p(ratio**2)
        slope = self.high - self.low
        # The stable root of slope/2 t^2 + low t = total.
        return 2 * total / (self.low + torch.sqrt(self.low**2 + 2 * slope * total))


@dataclass(frozen=True)
class SubVP:
    """Sub-VP: VP's alpha with sigma = 1 - alpha^2 (Song et al. 2021, arXiv 2011.13456, equation 27 and appendix B)."""

    low: float = 0.1
    high: float = 20.0

    def __post_init__(self) -> None:
        _refuse("beta", self.low, self.high)

    def alpha(self, t: Tensor) -> Tensor:
        return VP(self.low, self.high).alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return VP(self.low, self.high).sigma(t) ** 2

    def time_of(self, ratio: Tensor) -> Tensor:
        # sigma / alpha = 1/a - a = 2 sinh(-log a), and 1/a^2 - 1 is VP's squared ratio.
        return VP(self.low, self.high).time_of(torch.sqrt(torch.expm1(2 * torch.asinh(ratio / 2))))


@dataclass(frozen=True)
class VE:
    """Variance exploding: alpha = 1, sigma = low (high / low)^t (Song et al. 2021, arXiv 2011.13456, equation 31)."""

    low: float = 0.01
    high: float = 50.0

    def __post_init__(self) -> None:
        _refuse("sigma", self.low, self.high)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.low * torch.exp(t * math.log(self.high / self.low))

    def time_of(self, ratio: Tensor) -> Tensor:
        return torch.log(ratio / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Cosine:
    """alpha = cos(pi/2 u), sigma = sin(pi/2 u) with u = (t + s) / (1 + s) (Nichol and Dhariwal 2021, arXiv 2102.09672).

    The paper divides alpha^2 by its value at t = 0, so that alpha(0) = 1; so do we. At t = 1 alpha is exactly 0.
    """

    offset: float = 0.008

    def _angle(self, t: Tensor) -> Tensor:
        return (t + self.offset) / (1 + self.offset) * (math.pi / 2)

    @property
    def _start(self) -> float:
        return self.offset / (1 + self.offset) * (math.pi / 2)

    def alpha(self, t: Tensor) -> Tensor:
        # cos is written as a sine of the distance to the end, so that it vanishes exactly at t = 1.
        return torch.sin((1 - t) / (1 + self.offset) * (math.pi / 2)) / math.cos(self._start)

    def sigma(self, t: Tensor) -> Tensor:
        # 1 - cos^2 a / cos^2 b = sin(a - b) sin(a + b) / cos^2 b, without cancellation at t = 0.
        a, b = self._angle(t), self._start
        product = torch.sin(t / (1 + self.offset) * (math.pi / 2)) * torch.sin(a + b)
        return torch.sqrt(product.clamp(min=0)) / math.cos(b)

    def time_of(self, ratio: Tensor) -> Tensor:
        # cos a = cos b / sqrt(1 + ratio^2); tan(a - b) is written so that nothing cancels at 0 or is nan at inf.
        cos, sin, inverse = math.cos(self._start), math.sin(self._start), 1 / ratio
        root = torch.sqrt(1 + (sin * inverse) ** 2)
        return (
            torch.atan2(cos / (root + sin * inverse), cos**2 * inverse + sin * root) / (math.pi / 2) * (1 + self.offset)
        )


@dataclass(frozen=True)
class EDM:
    """alpha = 1, sigma = high t: EDM's sigma(t) = t, its clock ending at 1 (Karras et al. 2022, arXiv 2206.00364)."""

    high: float = 80.0

    def __post_init__(self) -> None:
        _refuse("sigma", 0.0, self.high)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.high * t

    def time_of(self, ratio: Tensor) -> Tensor:
        return ratio / self.high


@dataclass(frozen=True)
class Straight:
    """alpha = 1 - t, sigma = t: straight-line flow matching (Lipman et al. 2023, arXiv 2210.02747, equation 20)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def time_of(self, ratio: Tensor) -> Tensor:
        # At ratio = inf the limit is 1, which ratio / (1 + ratio) would turn into nan.
        return 1 / (1 + 1 / ratio)


@dataclass(frozen=True)
class LogSNR:
    """Variance preserving, with gamma = -log SNR = low + (high - low) t, so alpha^2 = 1 / (1 + e^gamma).

    The ends are those of Kingma et al. 2021 (arXiv 2107.00630, their code): some noise is left at t = 0. alpha and
    sigma are both divided by alpha(0), by a millionth less than 1, so that alpha(0) = 1 as everywhere here; no ratio
    changes.
    """

    low: float = -13.3
    high: float = 5.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise BadInput(f"gamma goes from {self.low} to {self.high}; give numbers low < high")

    def _gamma(self, t: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * t

    def _start(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-self._gamma(torch.zeros_like(t))))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-self._gamma(t))) / self._start(t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(self._gamma(t))) / self._start(t)

    def time_of(self, ratio: Tensor) -> Tensor:
        return (2 * torch.log(ratio) - self.low) / (self.high - self.low)


SCHEDULES: dict[str, type[Schedule]] = {
    "vp": VP,
    "sub-vp": SubVP,
    "ve": VE,
    "cosine": Cosine,
    "edm": EDM,
    "straight": Straight,
    "vdm": LogSNR,
}
