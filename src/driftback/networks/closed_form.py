"""What is known in closed form before a network learns: the posterior mean of a mixture fitted to the items.

The network F is told it, and learns what is left: D = m(y) + s(r) F, where y = x_0 + r eps, m(y) = E[x_0 | y] under the
mixture, and s(r) is the root mean square of x_0 - m(y) over the items. With EDM's preconditioning around it (Karras et
al. 2022, arXiv 2206.00364, table 1), D = c_skip y + c_out O, that is O = (m - c_skip y) / c_out + s / c_out F: training
starts where the mixture ends, as it starts from a histogram where there are few levels. Where the network predicts
something else than a mean, it is only shown m and (m - c_skip y) / c_out.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Literal

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


Role = Literal["corrected", "shown"]


class ClosedFormSpec(BaseModel):
    """The size of a mixture, in a model's `config.json`: `rank` directions, `components` in all, and `classes` with
    weights of their own over components that are common (`shared`) or their own.

    With `features`, as many numbers of a caption or the like move the mixture; its weights then have a row with them,
    a class as it were, and one without. `role` says whether the network corrects its mean or is only shown it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: PositiveInt
    components: PositiveInt
    shared: bool = True
    classes: NonNegativeInt = 0
    features: NonNegativeInt = 0
    role: Role = "corrected"


class ClosedForm(nn.Module):
    """For what the network is shown, c_in y (n, *event), and a number, log(r) / 4 (n,): the mixture's mean as a further
    input (n, *event), and what makes EDM's O of F: an offset (n, *event) and a scale (n, 1, ...).
    """

    basis: Tensor
    left: Tensor
    moves: Tensor

    def __init__(self, spec: ClosedFormSpec, event: tuple[int, ...], spread: float) -> None:
        super().__init__()
        d, r, k = math.prod(event), spec.rank, spec.components
        self.spec, self.event, self.spread = spec, event, spread
        shapes = {
            "mean": (d,),
            "basis": (d, r),
            "rest": (),
            "centres": (k, r),
            "axes": (k, r, r),
            "variances": (k, r),
            "log_weights": (spec.classes + 1, k),
            "left": (2, RATIOS) if spec.features else (RATIOS,),
        }
        if spec.features:
            shapes["moves"] = (spec.features, r)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape))

    @property
    def mixture(self) -> LowRankMixture:
        """The mixture that it holds."""
        return LowRankMixture(*(getattr(self, part.name) for part in fields(LowRankMixture)))

    @torch.no_grad()
    def fill(
        self, mixture: LowRankMixture, x0: Tensor, told: Tensor | None, *, rng: Rng, moves: Tensor | None = None
    ) -> None:
        """Hold `mixture` and what moves it, and measure what it leaves on items `x0` (n, *event) of which this is
        `told`, if anything: classes (n,), or features (n, f).
        """
        for part in fields(LowRankMixture):
            getattr(self, part.name).copy_(getattr(mixture, part.name))
        if moves is not None:
            self.moves.copy_(moves)
        chosen = torch.from_numpy(rng.child("left").generator().permutation(len(x0))[:MEASURED])
        x, some = x0[chosen].flatten(1), None if told is None else told[chosen]
        for table, known in zip(self.left.view(-1, RATIOS), (some, None), strict=False):
            for k, ratio in enumerate(_grid(self.spread)):
                noise = rng.child("noise", k).normal(x.shape, dtype=x.dtype)
                error = self._denoised(x + ratio * noise, torch.full((len(x),), float(ratio)), known) - x
                table[k] = error.square().mean().sqrt().clamp(min=1e-6).log()

    @property
    def channels(self) -> int:
        """How many channels a network is shown of it, for each of an item's."""
        return 1 if self.spec.role == "corrected" else 2

    def forward(self, shown: Tensor, number: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        with _exact(shown.device):
            return self._corrected(shown, number, told)

    def _corrected(self, shown: Tensor, number: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        ratio = torch.exp(4 * number)
        variance = self.spread**2 + ratio**2
        each = (-1, *[1] * (shown.ndim - 1))
        y = shown * variance.sqrt().reshape(each)
        mean = self._denoised(y.flatten(1), ratio, told).reshape(y.shape)
        out = ratio * self.spread * variance.rsqrt()
        offset = (mean - y * (self.spread**2 / variance).reshape(each)) / out.reshape(each)
        return mean / self.spread, offset, (self._left(ratio, told) / out).reshape(each)

    def weight(self, ratio: Tensor, told: Tensor | None) -> Tensor:
        """What makes of a squared error of O one of F: (c_out / s)^2 at noise-to-data ratios (n,)."""
        out = ratio * self.spread * (self.spread**2 + ratio**2).rsqrt()
        return (out / self._left(ratio, told)) ** 2

    def _denoised(self, y: Tensor, ratio: Tensor, told: Tensor | None) -> Tensor:
        row = self._row(told, len(y)).to(y.device)
        if told is None or not self.spec.features:
            return self.mixture.denoised(y, ratio, row)
        moved = told.to(y) @ self.moves @ self.basis.T
        return self.mixture.denoised(y - moved, ratio, row) + moved

    def _row(self, told: Tensor | None, n: int) -> Tensor:
        """Which weights each item has: its class's, those of all of which something is told, or the last ones."""
        if told is None or not self.spec.classes:
            return torch.full((n,), self.spec.classes, device=None if told is None else told.device)
        return (told == 0).all(1).long() if self.spec.features else told

    def _left(self, ratio: Tensor, told: Tensor | None) -> Tensor:
        """s(r), from its table by straight lines in the logarithms."""
        low, high = math.log(LOWEST * self.spread), math.log(HIGHEST * self.spread)
        place = ((ratio.to(self.left).log() - low) / (high - low) * (RATIOS - 1)).clamp(0, RATIOS - 1.001)
        below = place.floor()
        start = below.long()
        if self.spec.features:
            start = start + RATIOS * self._row(told, len(ratio)).to(start.device)
        table = self.left.flatten()
        return torch.lerp(table[start], table[start + 1], place - below).exp()


def _exact(device: torch.device) -> AbstractContextManager[object]:
    """Full precision where the network around computes in half: an exact mean with three digits is none."""
    return torch.autocast(device.type, enabled=False) if device.type in ("cpu", "cuda") else nullcontext()


def _grid(spread: float) -> Tensor:
    return torch.logspace(math.log10(LOWEST * spread), math.log10(HIGHEST * spread), RATIOS, dtype=torch.float64)
