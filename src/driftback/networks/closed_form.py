"""What is known in closed form before a network learns: the posterior mean of a mixture fitted to the items.

The network F is told it, and learns what is left: D = m(y) + s(r) F, where y = x_0 + r eps, m(y) = E[x_0 | y] under the
mixture, and s(r) is the root mean square of x_0 - m(y) over the items. With EDM's preconditioning around it (Karras et
al. 2022, arXiv 2206.00364, table 1), D = c_skip y + c_out O, that is O = (m - c_skip y) / c_out + s / c_out F: training
starts where the mixture ends, as it starts from a histogram where there are few levels.
"""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from driftback.distributions.low_rank import LowRankMixture
from driftback.randomness import Rng

RATIOS = 48
LOWEST, HIGHEST = 1e-3, 300.0
"""The range, in standard deviations of the data, in which s is tabled on a logarithmic grid."""
MEASURED = 512
"""The items that s is measured on."""


class ClosedFormSpec(BaseModel):
    """The size of a mixture, in a model's `config.json`: `rank` directions, `components` in all, and `classes` with
    weights of their own over components that are common (`shared`) or their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: PositiveInt
    components: PositiveInt
    shared: bool = True
    classes: NonNegativeInt = 0


class ClosedForm(nn.Module):
    """For what the network is shown, c_in y (n, *event), and a number, log(r) / 4 (n,): the mixture's mean as a further
    input (n, *event), and what makes EDM's O of F: an offset (n, *event) and a scale (n, 1, ...).
    """

    left: Tensor

    def __init__(self, spec: ClosedFormSpec, event: tuple[int, ...], spread: float) -> None:
        super().__init__()
        d, r, k = math.prod(event), spec.rank, spec.components
        self.spec, self.spread = spec, spread
        shapes = {
            "mean": (d,),
            "basis": (d, r),
            "rest": (),
            "centres": (k, r),
            "axes": (k, r, r),
            "variances": (k, r),
            "log_weights": (spec.classes + 1, k),
            "left": (RATIOS,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape))

    @property
    def mixture(self) -> LowRankMixture:
        """The mixture that it holds."""
        return LowRankMixture(*(getattr(self, part.name) for part in fields(LowRankMixture)))

    @torch.no_grad()
    def fill(self, mixture: LowRankMixture, x0: Tensor, label: Tensor | None, *, rng: Rng) -> None:
        """Hold `mixture`, and measure what it leaves on items `x0` (n, *event) and their classes (n,), if any."""
        for part in fields(LowRankMixture):
            getattr(self, part.name).copy_(getattr(mixture, part.name))
        chosen = torch.from_numpy(rng.child("left").generator().permutation(len(x0))[:MEASURED])
        x, row = x0[chosen].flatten(1), self._row(None if label is None else label[chosen], len(chosen))
        for k, ratio in enumerate(_grid(self.spread)):
            noise = rng.child("noise", k).normal(x.shape, dtype=x.dtype)
            wide = torch.full((len(x),), float(ratio))
            error = mixture.denoised(x + ratio * noise, wide, row) - x
            self.left[k] = error.square().mean().sqrt().clamp(min=1e-6).log()

    def forward(self, shown: Tensor, number: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        ratio = torch.exp(4 * number)
        variance = self.spread**2 + ratio**2
        each = (-1, *[1] * (shown.ndim - 1))
        y = shown * variance.sqrt().reshape(each)
        mean = self.mixture.denoised(y.flatten(1), ratio, self._row(label, len(y)).to(y.device)).reshape(y.shape)
        out = ratio * self.spread * variance.rsqrt()
        offset = (mean - y * (self.spread**2 / variance).reshape(each)) / out.reshape(each)
        return mean / self.spread, offset, (self._left(ratio) / out).reshape(each)

    def weight(self, ratio: Tensor) -> Tensor:
        """What makes of a squared error of O one of F: (c_out / s)^2 at noise-to-data ratios (n,)."""
        out = ratio * self.spread * (self.spread**2 + ratio**2).rsqrt()
        return (out / self._left(ratio)) ** 2

    def _row(self, label: Tensor | None, n: int) -> Tensor:
        """Which weights each item has: its class's, or the last ones."""
        if label is None or not self.spec.classes:
            return torch.full((n,), self.spec.classes, device=None if label is None else label.device)
        return label

    def _left(self, ratio: Tensor) -> Tensor:
        """s(r), from its table by straight lines in the logarithms."""
        low, high = math.log(LOWEST * self.spread), math.log(HIGHEST * self.spread)
        place = ((ratio.to(self.left).log() - low) / (high - low) * (RATIOS - 1)).clamp(0, RATIOS - 1.001)
        below = place.floor()
        first, second = self.left[below.long()], self.left[below.long() + 1]
        return torch.lerp(first, second, place - below).exp()


def _grid(spread: float) -> Tensor:
    return torch.logspace(math.log10(LOWEST * spread), math.log10(HIGHEST * spread), RATIOS, dtype=torch.float64)
