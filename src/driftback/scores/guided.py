"""Classifier-free guidance: push the denoiser away from 'no class' towards a class.

D = D_c + w (D_c - D_0), which in the score is (1 + w) s_c - w s_0 (Ho and Salimans 2022, arXiv 2207.12598, equation 6).
For w > 0 this does not sample p(x) p(c | x)^(1 + w): the guided scores are not the scores of that density's noised
versions. w = 0 is plain conditioning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class GuidedDenoiser(Denoiser):
    """`conditional` pushed away from `unconditional` by `weight` >= 0; costs two evaluations unless the weight is 0."""

    conditional: Denoiser
    unconditional: Denoiser
    weight: float

    @property
    def process(self) -> Diffusion:  # type: ignore[override]
        """The process of the conditional denoiser."""
        return self.conditional.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        towards = self.conditional.denoised(x, t)
        if self.weight == 0:
            return towards
        return towards + self.weight * (towards - self.unconditional.denoised(x, t))

    def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """The guided mean, with the conditional's widths, which cost an evaluation more."""
        return self.denoised(x, t), self.conditional.denoised_and_share(x, t)[1]

    def given(self, label: int | Tensor) -> Self:
        return replace(self, conditional=self.unconditional.given(label))
