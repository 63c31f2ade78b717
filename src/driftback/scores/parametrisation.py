"""Parametrisations: what the network is shown, what its output means, and the loss that is natural to it.

With x = alpha x_0 + sigma eps and r = sigma / alpha, a linear parametrisation is three coefficients,
D = c_skip x + c_out F(c_in x; c_noise), and its loss is the squared error of F against (x_0 - c_skip x) / c_out:
predicting x_0, the noise (Ho et al. 2020, arXiv 2006.11239, equation 14), the velocity (Salimans and Ho 2022, arXiv
2202.00512, section 4) or EDM's preconditioned target (Karras et al. 2022, arXiv 2206.00364, table 1) differ in those
three alone.

Where data take few values v_1 .. v_K (grey levels, bits), Bayes' rule says more: p(x_0i = v_k | x) is proportional to
p(v_k | all other coordinates of x) N(x_i; alpha v_k, sigma^2). `Levels` lets the network predict the logarithm of the
first factor and adds the second exactly; the loss is the cross-entropy (compare Dieleman et al. 2022, arXiv 2211.15089,
'score interpolation').
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.shapes import per_item, sum_event

Coefficient = Callable[[Tensor, Tensor, float], Tensor]
"""(alpha, sigma, the data's standard deviation) -> one number per time."""


class Parametrisation(Protocol):
    """The meaning of a network's input and output. `alpha`, `sigma` are float64, () or (n,)."""

    def channels(self, event: int) -> tuple[int, int]:
        """The network's input and output channels for events with `event` channels."""
        ...

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network is shown of `x` (n, c, ...): (n, c_in, ...)."""
        ...

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x_0 | x] from the network's output: the shape of `x`."""
        ...

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The loss that is natural to this parametrisation, a mean over the event: (n,)."""
        ...

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        """The weight of |x_0 - D|^2 in `loss`, in the shape of `alpha`; None where the loss is none of its squares."""
        ...


@dataclass(frozen=True)
class Linear:
    """D = c_skip x + c_out F(c_in x), for data of standard deviation `spread`."""

    c_in: Coefficient
    c_skip: Coefficient
    c_out: Coefficient
    spread: float = 1.0

    def channels(self, event: int) -> tuple[int, int]:
        return event, event

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        if alpha.ndim == 0:
            return x * _known_coefficients(self, float(alpha), float(sigma))[0]
        return per_item(self.c_in(alpha, sigma, self.spread), x) * x

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        if alpha.ndim == 0:
            _, skip, out = _known_coefficients(self, float(alpha), float(sigma))
            return torch.add(x * skip, output, alpha=out)
        skips, outs = self.c_skip(alpha, sigma, self.spread), self.c_out(alpha, sigma, self.spread)
        return per_item(skips, x) * x + per_item(outs, x) * output

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        skip, out = self.c_skip(alpha, sigma, self.spread), self.c_out(alpha, sigma, self.spread)
        target = (x0 - per_item(skip, x) * x) / per_item(out, x)
        return sum_event((output - target) ** 2) / math.prod(x.shape[1:])

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        return self.c_out(alpha, sigma, self.spread) ** -2


@lru_cache(maxsize=4096)
def _known_coefficients(linear: Linear, alpha: float, sigma: float) -> tuple[float, float, float]:
    """c_in, c_skip and c_out at one noise level: a sampler asks for the same few again and again."""
    a, s = (torch.tensor(value, dtype=torch.float64) for value in (alpha, sigma))
    c_in, c_skip, c_out = (float(c(a, s, linear.spread)) for c in (linear.c_in, linear.c_skip, linear.c_out))
    return c_in, c_skip, c_out


def _scale_in(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    return (alpha**2 * spread**2 + sigma**2).rsqrt()


def _edm_skip(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    return alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)


def _edm_out(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    return sigma * spread * (alpha**2 * spread**2 + sigma**2).rsqrt()


def predict_data(spread: float) -> Linear:
    """F is x_0 itself."""
    return Linear(_scale_in, lambda a, s, d: torch.zeros_like(a), lambda a, s, d: torch.ones_like(a), spread)


def predict_noise(spread: float) -> Linear:
    """F is eps: D = (x - sigma F) / alpha. Undefined where alpha = 0."""
    return Linear(_scale_in, lambda a, s, d: 1 / a, lambda a, s, d: -s / a, spread)


def predict_velocity(spread: float) -> Linear:
    """F is alpha eps - sigma x_0, divided by alpha^2 + sigma^2 where that is not 1: D = (alpha x - sigma F) / (alpha^2
    + sigma^2).
    """
    return Linear(_scale_in, lambda a, s, d: a / (a**2 + s**2), lambda a, s, d: -s / (a**2 + s**2), spread)


def predict_edm(spread: float) -> Linear:
    """EDM's preconditioning: F has unit variance at every noise level, and its error is amplified least."""
    return Linear(_scale_in, _edm_skip, _edm_out, spread)


def predict_flow(spread: float) -> Linear:
    """F is eps - x_0, the velocity of the straight line x = (1 - t) x_0 + t eps: D = x - sigma F (Lipman et al. 2023,
    arXiv 2210.02747).
    """
    return Linear(_scale_in, lambda a, s, d: torch.ones_like(a), lambda a, s, d: -s, spread)


@dataclass(frozen=True)
class Levels:
    """For data on the values `start` + k `step`, k = 0 .. `count` - 1, in every coordinate; see the module's head."""

    start: float
    step: float
    count: int
    spread: float = 1.0

    @property
    def bottom(self) -> float:
        """The ratio sigma / alpha at which a bound asks for levels: there one noise in a billion reaches the next."""
        return self.step / 12

    def values(self, like: Tensor) -> Tensor:
        """The levels, (count,), in the type and on the device of `like`."""
        return self.start + self.step * torch.arange(self.count, dtype=like.dtype, device=like.device)

    def index(self, x0: Tensor) -> Tensor:
        """The number of the level nearest to each coordinate, int64, the shape of `x0`."""
        return ((x0 - self.start) / self.step).round().long().clamp(0, self.count - 1)

    def channels(self, event: int) -> tuple[int, int]:
        return event * (self.count + 1), event * self.count

    def _evidence(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log N(x_i; alpha v_k, sigma^2) up to a constant: (n, c, count, ...)."""
        values = self.values(x).reshape(-1, *[1] * (x.ndim - 2))
        return (
            -(((x.unsqueeze(2) - per_item(alpha, x).unsqueeze(-1) * values) / per_item(sigma, x).unsqueeze(-1)) ** 2)
            / 2
        )

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The scaled x, and the probability of each level from x_i alone under a flat prior."""
        probability = self._evidence(x, alpha, sigma).softmax(2)
        return torch.cat([per_item(_scale_in(alpha, sigma, self.spread), x) * x, probability.flatten(1, 2)], 1)

    def log_probability(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log p(x_0i = v_k | x): (n, c, count, ...)."""
        logits = output.unflatten(1, (x.shape[1], self.count)) + self._evidence(x, alpha, sigma)
        return logits.log_softmax(2)

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        probability = self.log_probability(output, x, alpha, sigma).exp()
        return torch.movedim(probability, 2, -1) @ self.values(x)

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.surprise(output, x0, x, alpha, sigma) / math.prod(x.shape[1:])

    def surprise(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """-log p(x_0 | x) in nats, (n,), summed over the coordinates as if they were independent given x."""
        log_probability = self.log_probability(output, x, alpha, sigma).flatten(0, 1)
        entropy = F.nll_loss(log_probability, self.index(x0).flatten(0, 1), reduction="none")
        return sum_event(entropy.unflatten(0, x.shape[:2]))

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        return None
