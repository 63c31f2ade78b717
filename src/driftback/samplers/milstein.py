"""Milstein's rule for noise that depends on the point: Euler-Maruyama and one term more, strong order 1 for 1/2.

x <- x + f h + sum_j G_j dW_j + 1/2 sum_ij (G_i . grad) G_j (dW_i dW_j - delta_ij |h|), with G_j the effect of noise j
(Milstein 1974; Kloeden and Platen 1992, 'Numerical Solution of SDEs', section 10.3). Backwards, h < 0, only the
drift turns its sign: dW^2 is |h| on average in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.nonlinear import ItoSDE, along, refuse_cut
from driftback.randomness import Rng, as_rng
from driftback.samplers.brownian import EQUAL, increments
from driftback.samplers.frame import Frame


@dataclass(frozen=True)
class Milstein:
    """Any ItoSDE on any times: increasing for the way forward, decreasing for an `ItoReverse` on its way back.

    The rule is right where the noises commute, (G_i . grad) G_j = (G_j . grad) G_i: one noise alone, noises that each
    drive one number by a function of that number, noise that does not depend on the point, and changes of variables of
    these. It is checked at every step; BadInput where it does not hold, or where G is not finite. `correction=False`
    is the Euler-Maruyama rule, which is right for all noise. One evaluation of the drift a step.
    """

    sde: ItoSDE
    correction: bool = True

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        rng, ts, noises = as_rng(rng).child("noise"), times.tolist(), None
        yield Frame(ts[0], x)
        for k, (t, s) in enumerate(pairwise(ts)):
            time = torch.tensor(t, dtype=torch.float64)
            g = self.sde.dispersion(x, time)
            if not bool(torch.isfinite(g).all()):
                raise BadInput(f"the SDE's noise is not finite at t = {t}; start its grid a little later or earlier")
            if noises is None:
                shape = len(x), g.shape[-1]
                noises = increments(ts, shape, EQUAL, rng=rng, dtype=x.dtype, device=x.device)
            noise = (math.sqrt(abs(s - t)) * next(noises)).reshape(len(x), *[1] * (x.ndim - 1), -1)
            change = self.sde.drift(x, time) * (s - t) + (g * noise).sum(-1)
            if self.correction:
                change = change + self._correction(x, time, g, noise, abs(s - t))
            x = x + change
            yield Frame(s, x, k + 1)

    def _correction(self, x: Tensor, t: Tensor, g: Tensor, noise: Tensor, step: float) -> Tensor:
        refuse_cut(self.sde, x, t)
        # (n, *event, i, j): the derivative of noise j's effect along noise i's.
        changes = torch.stack([along(lambda y: self.sde.dispersion(y, t), x, column) for column in g.unbind(-1)], -2)
        apart, both = (changes - changes.mT).abs(), changes.abs() + changes.mT.abs()
        eps = torch.finfo(x.dtype).eps
        # Each derivative has its own size; below some rounding errors of the item's largest it is none.
        room = eps**0.5 * both + 16 * eps * both.flatten(1).amax(1).reshape(-1, *[1] * x.ndim, 1)
        if bool((apart > room).any()):
            raise BadInput(
                f"the noises of this SDE do not commute at t = {float(t)}, so Milstein's rule is not right for it; "
                "use Milstein(sde, correction=False), the Euler-Maruyama rule, with more steps"
            )
        products = noise[..., :, None] * noise[..., None, :]
        products = products - step * torch.eye(g.shape[-1], dtype=x.dtype, device=x.device)
        return (changes * products).sum((-2, -1)) / 2
