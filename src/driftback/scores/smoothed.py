"""A denoiser that is smoothed: the mean of what it says about points near by. Of a recorded cloud, it makes new points.

D(y) becomes the mean over m of D(y + h e_m), e_m ~ N(0, I) fixed: where the recorded cloud's D leaps from one point to
the next, the smoothed one passes over means of neighbours, and ways end between the points (Scarvelis et al. 2023,
arXiv 2310.12395, section 4, whose score is smoothed in the same way). h = 0 remembers; large h has only the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from driftback.distributions.smoothing import smoothed
from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time, per_item


@dataclass(frozen=True, eq=False)
class SmoothedDenoiser(Denoiser):
    """`denoiser` at `draws` >= 1 points about y = x / alpha, `width` >= 0 in the units of the data; costs as many
    evaluations. The same points for every item and time, from `seed`, in pairs of opposite ones.
    """

    denoiser: Denoiser
    width: float
    draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.width < math.inf or self.draws < 1:
            raise BadInput(f"{self.draws} draws of width {self.width} smooth nothing; give 1 or more, of a width >= 0")

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the denoiser."""
        return self.denoiser.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        scale = per_item(self.process.alpha(as_time(t, x)) * self.width, x)

        def asked(near: Tensor) -> Tensor:
            return torch.stack([self.denoiser.denoised(one, t) for one in near])

        return smoothed(asked, x, scale, self.draws, self.seed)

    def of(self, rows: Tensor) -> Self:
        return replace(self, denoiser=self.denoiser.of(rows))

    def given(self, label: int | Tensor) -> Self:
        return replace(self, denoiser=self.denoiser.given(label))
