"""Guidance: push a denoiser away from a worse one, everywhere or within an interval of noise levels.

D = D_1 + w (D_1 - D_0), which in the score is (1 + w) s_1 - w s_0. Classifier-free guidance pushes what is conditioned
away from what is not (Ho and Salimans 2022, arXiv 2207.12598, equation 6); autoguidance pushes a denoiser away from an
under-trained one of the same condition (Karras et al. 2024, arXiv 2406.02507, whose weight is 1 + w). Within
lo < sigma / alpha <= hi alone it costs fewer evaluations and keeps more of the variety (Kynkäänniemi et al. 2024, arXiv
2404.07724). For w > 0 no such denoiser samples p_1 (p_1 / p_0)^w: the guided scores are not the scores of
that density's noised versions. w = 0 is plain conditioning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time, per_item

Interval = tuple[float, float]


@dataclass(frozen=True)
class GuidedDenoiser(Denoiser):
    """`conditional` pushed away from `unconditional` by `weight` >= 0; costs two evaluations unless the weight is 0.

    Outside of the `interval` (lo, hi] of noise-to-data ratios sigma / alpha it is `conditional` itself, at its cost.
    Raises BadInput for an interval that holds no ratio.
    """

    conditional: Denoiser
    unconditional: Denoiser
    weight: float
    interval: Interval | None = None

    def __post_init__(self) -> None:
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            low, high = self.interval
            raise BadInput(f"an interval of guidance rises from 0 or more, which {low:g} .. {high:g} does not")

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the conditional denoiser."""
        return self.conditional.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        towards = self.conditional.denoised(x, t)
        if self.weight == 0:
            return towards
        if self.interval is None:
            return self._pushed(towards, x, t)
        ratio = self.process.ratio(as_time(t, x))
        inside = (self.interval[0] < ratio) & (ratio <= self.interval[1])
        if not bool(inside.any()):
            return towards
        return torch.where(per_item(inside, x).bool(), self._pushed(towards, x, t), towards)

    def _pushed(self, towards: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
        return towards + self.weight * (towards - self.unconditional.denoised(x, t))

    def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """The guided mean, with the conditional's widths, which cost an evaluation more."""
        return self.denoised(x, t), self.conditional.denoised_and_share(x, t)[1]

    def of(self, rows: Tensor) -> Self:
        return replace(self, conditional=self.conditional.of(rows), unconditional=self.unconditional.of(rows))

    def given(self, label: int | Tensor) -> Self:
        return replace(self, conditional=self.unconditional.given(label))


@dataclass(frozen=True)
class AutoguidedDenoiser(GuidedDenoiser):
    """`conditional` pushed away from `unconditional`, an under-trained denoiser of the same condition."""

    def given(self, label: int | Tensor) -> Self:
        return replace(self, conditional=self.conditional.given(label), unconditional=self.unconditional.given(label))


@dataclass(frozen=True, eq=False)
class Counted(Denoiser):
    """`denoiser` itself, with how often it was asked: `asked` grows by one for each call."""

    denoiser: Denoiser
    asked: list[int] = field(default_factory=lambda: [0])

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the denoiser."""
        return self.denoiser.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        self.asked[0] += 1
        return self.denoiser.denoised(x, t)

    def of(self, rows: Tensor) -> Counted:
        return replace(self, denoiser=self.denoiser.of(rows))

    def given(self, label: int | Tensor) -> Counted:
        return replace(self, denoiser=self.denoiser.given(label))
