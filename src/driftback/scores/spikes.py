"""Spikes and slabs: a coordinate is exactly its lowest level, exactly its highest, or from a few Gaussians.

Many pictures have a black or white ground, and levels that vary smoothly besides. With y = x_0 + r eps, r = sigma /
alpha, Bayes' rule says p(x_0i | y) ~ p(x_0i | y_-i) N(y_i; x_0i, r^2), as in `driftback.scores.parametrisation.Levels`.
Here the network predicts the first factor not level by level, but as w_0 [x_0i = v_first] + w_1 [x_0i = v_last] +
sum_k w_k N(x_0i; m_k, s_k^2) (a spike and slab: Mitchell and Beauchamp 1988, J. Am. Statist. Ass. 83), so that the
posterior mean D has a closed form: shares ~ w_0 N(y; v_first, r^2), w_k N(y; m_k, s_k^2 + r^2), and means v_first,
(y s_k^2 + m_k r^2) / (s_k^2 + r^2).

The loss is the bound on -log P(x_0) itself (Kingma et al. 2021, arXiv 2107.00630, equations 11 to 18), in nats per
coordinate: int |x_0 - D|^2 / r^2 dlog r down to a ratio `low`, a few levels wide, and there -log p(x_0 | y), where the
slabs count as much at a level as they weigh in its cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.scores.bound_times import BoundTimes
from driftback.scores.lattice import log_sum
from driftback.shapes import per_item, sum_event

LOW, KNEE, HIGH = 0.033, 0.25, 160.0
"""Where the bound's integral begins, where its terms begin to fall, and where it ends, in deviations of the data."""
SHARE = 0.15
"""The share of a batch that is asked for levels, at `LOW`."""
NEARBY, ELSEWHERE = 5.0, 1e-6
"""Where levels are read off, those within so many r of y, and the two ends, have their posterior probabilities among
each other, and all levels together this share besides: far levels, of which there are many, need not be looked at.
"""

NEVER = -1e9
"""A log-probability that counts nothing, and has a gradient."""


def bound_times(spread: float) -> BoundTimes:
    """The law of times whose mean loss is the bound, for data of standard deviation `spread`."""
    return BoundTimes(LOW * spread, HIGH * spread, SHARE, KNEE * spread)


@dataclass(frozen=True)
class Posterior:
    """The law of each coordinate given the others: `log_weights` (n, c, 2 + k, *places) of the two spikes and the k
    slabs, and the slabs' `means` and `log_deviations` (n, c, k, *places).
    """

    log_weights: Tensor
    means: Tensor
    log_deviations: Tensor


@dataclass(frozen=True)
class Spikes:
    """For data on levels `start` + k `step`, k < `count`, of deviation `spread` about `centre`: see the head."""

    start: float
    step: float
    count: int
    spread: float = 1.0
    centre: float = 0.0
    slabs: int = 4

    @property
    def last(self) -> float:
        """The highest level."""
        return self.start + self.step * (self.count - 1)

    @property
    def bottom(self) -> float:
        """The ratio sigma / alpha at which levels are asked for."""
        return LOW * self.spread

    @property
    def times(self) -> BoundTimes:
        """The law of times whose mean loss is the bound."""
        return bound_times(self.spread)

    def channels(self, event: int) -> tuple[int, int]:
        return 3 * event, event * (2 + 3 * self.slabs)

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The scaled x, and how likely each spike is by x_i alone, beside one slab as wide as the data."""
        y, r = _ratio(x, alpha, sigma)
        scale = (self.spread**2 + r**2).rsqrt()
        wide = -0.5 * ((y - self.centre) * scale) ** 2 - 0.5 * (1 + (self.spread / r) ** 2).log()
        alone = torch.stack([self._spike(y, r, self.start), self._spike(y, r, self.last), wide]).softmax(0)
        return torch.cat([y * scale, alone[0], alone[1]], 1)

    def posterior(self, output: Tensor, channels: int) -> Posterior:
        """What the network's output (n, c (2 + 3 k), *places) says of each coordinate, given the others."""
        k = self.slabs
        weights, means, deviations = output.unflatten(1, (channels, 2 + 3 * k)).split([2 + k, k, k], 2)
        # A spike is rare until it is seen: far from the data it would cost most where there is most noise.
        rare = F.pad(weights.new_zeros(k), (2, 0), value=-3.0)
        apart = torch.linspace(-0.5, 0.5, k, dtype=output.dtype, device=output.device) if k > 1 else output.new_zeros(1)
        apart = apart.reshape(-1, *[1] * (output.ndim - 2))
        least, most = math.log(self.step / 3), math.log(4 * self.spread)
        log_deviations = (deviations + math.log(0.3 * self.spread)).clamp(least, max(least, most))
        weights = weights + rare.reshape(-1, *[1] * (output.ndim - 2))
        return Posterior(weights.log_softmax(2), self.centre + self.spread * (means + apart), log_deviations)

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        y, r = _ratio(x, alpha, sigma)
        return self._mean(self.posterior(output, x.shape[1]), y, r)

    def _mean(self, law: Posterior, y: Tensor, r: Tensor) -> Tensor:
        y, r = y.unsqueeze(2), r.unsqueeze(-1) if r.ndim else r
        own = (2 * law.log_deviations).exp()
        both = own + r**2
        seen = [self._spike(y, r, self.start), self._spike(y, r, self.last)]
        # Each without the factor 1 / r that the spikes' densities have.
        slabs = -0.5 * ((y - law.means) ** 2 / both + (both / r**2).log())
        share = (law.log_weights + torch.cat([*seen, slabs], 2)).softmax(2)
        inside = (share[:, :, 2:] * (y * own + law.means * r**2) / both).sum(2)
        return self.start * share[:, :, 0] + self.last * share[:, :, 1] + inside

    @staticmethod
    def _spike(y: Tensor, r: Tensor, level: float) -> Tensor:
        return -0.5 * ((y - level) / r) ** 2

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Each item's part in the bound, so that a mean over `BoundTimes` is the bound, (n,) nats per coordinate."""
        y, r = _ratio(x, alpha, sigma)
        law = self.posterior(output, x.shape[1])
        ratio = (sigma / alpha).expand(len(x))
        terms = sum_event((x0 - self._mean(law, y, r)) ** 2) / ratio.to(x.dtype) ** 2
        (asked,) = torch.nonzero(ratio <= self.bottom * (1 + 1e-6), as_tuple=True)
        if len(asked):
            some = Posterior(law.log_weights[asked], law.means[asked], law.log_deviations[asked])
            r = r[asked] if r.ndim else r
            terms = terms.index_copy(0, asked, self._surprise(some, x0[asked], y[asked], r))
        return terms * self.times.counts(ratio).to(x.dtype) / math.prod(x.shape[1:])

    def surprise(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """-log p(x_0 | x) in nats, (n,), summed over the coordinates as if they were independent given x."""
        y, r = _ratio(x, alpha, sigma)
        return self._surprise(self.posterior(output, x.shape[1]), x0, y, r)

    def _surprise(self, law: Posterior, x0: Tensor, y: Tensor, r: Tensor) -> Tensor:
        reach = math.ceil(min(self.count - 1, NEARBY * float(r.max()) / self.step))
        middle, last = self._number(y).clamp(0, self.count - 1), self.count - 1
        low, high = (-middle).clamp(min=-reach), (last - middle).clamp(max=reach)
        spikes = torch.stack([self._spike(y, r, self.start), self._spike(y, r, self.last)], 2)
        spikes = spikes + law.log_weights[:, :, :2]
        slabs = self._slabs(law, middle, y, r)
        total = torch.logaddexp(spikes.logsumexp(2), log_sum(slabs, low, high))
        k = self._number(x0)
        d, far = k - middle, (k - middle < low) | (k - middle > high)
        powers = torch.stack([torch.ones_like(d), d, d * d], -1).unsqueeze(-2)
        near = (slabs * powers).sum(-1).logsumexp(-1).masked_fill(far, NEVER)
        other = torch.stack([k != 0, k != last], 2)
        own = torch.logaddexp(near, spikes.masked_fill(other, NEVER).logsumexp(2)) - total
        anywhere = torch.full_like(own, math.log(ELSEWHERE / self.count))
        return -sum_event(torch.logaddexp(own + math.log1p(-ELSEWHERE), anywhere))

    def _slabs(self, law: Posterior, middle: Tensor, y: Tensor, r: Tensor) -> Tensor:
        """log w_j N(v; m_j, s_j^2) N(y; v, r^2), up to a constant, at d levels from the `middle` one: the coefficients
        of 1, d and d^2, (n, c, *places, k, 3).
        """
        value, noise = (self.start + self.step * middle).unsqueeze(2), r.unsqueeze(-1) if r.ndim else r
        own = (-law.log_deviations).exp()
        a, b = (value - law.means) * own, self.step * own
        e, f = (value - y.unsqueeze(2)) / noise, self.step / noise
        cell = math.log(self.step) - 0.5 * math.log(2 * math.pi)
        weights = law.log_weights[:, :, 2:] - law.log_deviations + cell
        return torch.stack([weights - (a * a + e * e) / 2, -(a * b + e * f), -(b * b + f * f) / 2], -1).movedim(2, -2)

    def _number(self, values: Tensor) -> Tensor:
        return ((values - self.start) / self.step).round()

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        return None


def _ratio(x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """y = x / alpha, and r that multiplies it item by item."""
    return x / per_item(alpha, x), per_item(sigma / alpha, x)
