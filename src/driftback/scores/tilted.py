"""A denoiser times a second density: a classifier's, a reward's, or any log_prob.

Multiplying p by h pulls the way back along grad log h: with h seen at the noisy point itself it is classifier guidance
(Dhariwal and Nichol 2021, arXiv 2105.05233, section 4; Song et al. 2021, arXiv 2011.13456, appendix I), exact where h
was learned for noisy points, and Sohl-Dickstein et al. 2015 (arXiv 1503.03585, section 2.5) where h changes little over
a step's noise; with h seen at D(x_t) it needs nothing learned (Chung et al. 2023, arXiv 2209.14687).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.scores.denoiser import Denoiser
from driftback.scores.posterior import remaining
from driftback.scores.twist import Guess, Twist, tweedie
from driftback.shapes import as_time, per_item

NOWHERE = -3.0
"""What log h is guessed to be, in nats, where the density is 0 at D: a point there may still end in its support. With
-7 the first particles that cross into it are all that is left, with -1 those of a support of 2 % were too few."""


@dataclass(frozen=True, eq=False)
class Tilted(Twist):
    """`denoiser` times exp(`scale` `log_density`), a function of points (n, *event) to (n,) nats up to a constant.

    With `noisy` it is asked as log_density(x_t, t), at the noisy point and its time; without, as log_density(D). Where
    it is -inf at D, no slope leads anywhere, and it is guessed to be `NOWHERE`. BadInput where it is NaN, returns
    another shape or cannot be differentiated.
    """

    denoiser: Denoiser
    log_density: Callable[..., Tensor]
    scale: float = 1.0
    noisy: bool = False
    until: float = math.inf
    """Up to this ratio r, in deviations of the data, the denoiser's own derivative is taken, and beyond it that of a
    Gaussian (`driftback.scores.posterior`)."""

    def guess(self, x: Tensor, t: float | Tensor) -> Guess:
        scale = tweedie(self.process, x, t)
        if self.noisy:
            log_h, slope = self._sloped(x, t)
            return Guess(self.denoiser.denoised(x, t), scale * slope, log_h)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            mean = self.denoiser.denoised(leaf, t)
        log_h, slope = self._sloped(mean)
        level = as_time(t, x)
        far = per_item(self.process.ratio(level) > self.until * self.process.spread, x) > 0
        shift = per_item(remaining(self.process, level), x) * slope
        if not bool(far.all()):
            shift = torch.where(far, shift, scale * torch.autograd.grad(mean, leaf, slope)[0])
        return Guess(mean.detach(), shift, log_h)

    def _sloped(self, x: Tensor, *t: float | Tensor) -> tuple[Tensor, Tensor]:
        """log h at `x`, (n,) float64, and its gradient there."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            log_h = self.scale * self.log_density(leaf, *t)
            if log_h.shape != (len(x),) or not log_h.requires_grad:
                raise BadInput(
                    f"the second density gives {tuple(log_h.shape)} for {len(x)} points"
                    f"{'' if log_h.requires_grad else ' without a derivative'}; let it give (n,) by torch's functions"
                )
            slope = torch.autograd.grad(log_h.sum(), leaf)[0]
        log_h = refuse_no_number(log_h.detach().double())
        nowhere = log_h == -math.inf
        slope = torch.where(per_item(nowhere, slope) > 0, 0.0, slope)
        if not bool(torch.isfinite(slope).all()):
            raise BadInput("the second density's derivative is not finite; let it be smooth where it is above 0")
        return log_h.clamp(min=NOWHERE).where(nowhere, log_h), slope

    def log_factor(self, x0: Tensor) -> Tensor:
        """log h(x_0), (n,); of a `noisy` one at t = 0. -inf where h is 0."""
        found = self.log_density(x0, 0.0) if self.noisy else self.log_density(x0)
        return refuse_no_number(self.scale * found.double())

    def of(self, rows: Tensor) -> Tilted:
        return replace(self, denoiser=self.denoiser.of(rows))

    def given(self, label: int | Tensor) -> Tilted:
        """The same factor on the denoiser of a class."""
        return replace(self, denoiser=self.denoiser.given(label))


def refuse_no_number(log_h: Tensor) -> Tensor:
    """`log_h` (n,). BadInput where it is NaN or plus infinity."""
    if not bool((log_h < math.inf).all()):
        odd = log_h[~(log_h < math.inf)]
        raise BadInput(
            f"the second density's logarithm is {float(odd[0]):g} for {len(odd)} of {len(log_h)} items; let it be -inf "
            "where the density is 0"
        )
    return log_h
