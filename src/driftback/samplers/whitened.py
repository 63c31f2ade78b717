"""The probability-flow ODE both ways, in coordinates in which Gaussian data stand still, with an integral along it.

With y = x / alpha, l = log r and w = y / sqrt(s^2 + r^2), s the standard deviation of the data, the ODE dy/dl = y - D
becomes dw/dl = (y s^2 / (s^2 + r^2) - D) / sqrt(s^2 + r^2): nothing moves where D is that of N(0, s^2), which is so at
both ends for any data. What is left is followed by Dormand and Prince's pair of orders 5 and 4 (1980, 'A family of
embedded Runge-Kutta formulae'; Hairer, Norsett and Wanner 1993, table II.5.2), each item in steps of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item

A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""The stages; the last one is the step, and the next one's first."""
OFF = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""The step less the one of order 4."""
FIRST = 0.5
"""The first step in log r; the estimated error corrects it."""

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""dw/dl and dq/dl at `w` (n, *event) and clocks l (n,): (n, *event) and (n, k) float64."""


@dataclass(frozen=True)
class Travelled:
    """Where a way ended: `w` (n, *event), the integrals `q` (n, k), and what the slowest item took."""

    w: Tensor
    q: Tensor
    evaluations: int


@torch.no_grad()
def travelled(
    slope: Slope, w: Tensor, start: float, end: float, *, tolerance: float, most: int = 200, widths: int = 0
) -> Travelled:
    """Follow `slope` from the clock `start` to `end`, up or down, with `widths` integrals along the way.

    An item's step is as long as its estimated error allows: `tolerance` in w, root mean square over the event, and in
    each integral; but no shorter than 1 / `most` of the way, where a network's roughness would ask for endless ones.
    An item that meets what is no number ends as NaN.
    """
    n, way = len(w), end - start
    sign, shortest = math.copysign(1.0, way), abs(way) / most
    clock = torch.full((n,), start, dtype=torch.float64, device=w.device)
    step = torch.full_like(clock, max(shortest, min(FIRST, abs(way))))
    q = torch.zeros(n, widths, dtype=torch.float64, device=w.device)
    first, spent = slope(w, clock), 1
    while bool((clock != end).any()):
        left = (end - clock).abs()
        # A rest that is hardly longer than the step is taken with it.
        h = torch.where(step > left * 0.99, left, step)
        stages = [first]
        for row in A:
            there = clock + sign * h * sum(row)
            if row is A[-1]:
                there = torch.where(h == left, torch.full_like(clock, end), there)
            stages.append(slope(_moved(w, stages, row, sign * h, 0), there))
        ahead = _moved(w, stages, A[-1], sign * h, 0)
        off_w = _moved(torch.zeros_like(w), stages, OFF, h, 0).flatten(1).double()
        error = off_w.square().mean(1).sqrt()
        if widths:
            error = torch.maximum(error, _moved(torch.zeros_like(q), stages, OFF, h, 1).abs().amax(1))
        error = error / tolerance
        # What is no number will not become one: such an item has arrived, as NaN, for the caller to tell.
        lost = ~torch.isfinite(error)
        there, error = torch.where(lost, end, there), torch.where(lost, 0.0, error)
        ahead = torch.where(per_item(lost.double(), w) > 0, torch.full_like(ahead, torch.nan), ahead)
        fits = (error <= 1) | (h <= shortest * 1.0001)
        if widths:
            q = torch.where(fits[:, None], _moved(q, stages, A[-1], sign * h, 1), q)
        chosen = per_item(fits.double(), w) > 0
        first = (
            torch.where(chosen, stages[-1][0], first[0]),
            torch.where(fits[:, None], stages[-1][1], first[1]) if widths else first[1],
        )
        w, clock = torch.where(chosen, ahead, w), torch.where(fits, there, clock)
        grown = step * (0.9 * error.clamp(min=1e-12) ** (-1 / 5)).clamp(0.2, 5.0)
        # A step cut short at the end says nothing against the longer one that was planned.
        step = torch.where(fits & (h < step), step, grown).clamp(min=shortest)
        spent += len(A)
    return Travelled(w, q, spent)


def _moved(x: Tensor, stages: list[tuple[Tensor, Tensor]], row: tuple[float, ...], h: Tensor, part: int) -> Tensor:
    out, length = x, per_item(h, x)
    for factor, stage in zip(row, stages, strict=False):
        if factor:
            out = out + factor * length * stage[part]
    return out


@dataclass(frozen=True)
class Whitened:
    """`denoiser`'s ODE in w, for data of standard deviation `spread`."""

    denoiser: Denoiser
    spread: float

    def seen(self, w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y, the times, and sqrt(s^2 + r^2) (n,) at clocks (n,)."""
        size = torch.sqrt(self.spread**2 + (2 * clock).exp())
        return w * per_item(size, w), self.denoiser.process.time_of(clock.exp()), size

    def denoised(self, y: Tensor, t: Tensor) -> Tensor:
        """D as a function of y."""
        return self.denoiser.denoised(y * per_item(self.denoiser.process.alpha(t), y), t)

    def slope_of(self, y: Tensor, denoised: Tensor, size: Tensor) -> Tensor:
        """dw/dl."""
        return (y * per_item(self.spread**2 / size**2, y) - denoised) / per_item(size, y)

    def slope(self, w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """dw/dl, and nothing to integrate."""
        y, t, size = self.seen(w, clock)
        return self.slope_of(y, self.denoised(y, t), size), torch.zeros(len(w), 0, dtype=torch.float64, device=w.device)

    def ends(self, low: float) -> tuple[float, float]:
        """log r where the way starts, at `low` spreads, and where it ends: at 200, or where the process does."""
        top = min(float(self.denoiser.process.ratio(1.0)), 200 * self.spread)
        return math.log(low * self.spread), math.log(top)

    def encoded(self, x0: Tensor, *, low: float = 1e-3, tolerance: float = 1e-4, most: int = 200) -> Travelled:
        """The latents of `x0` (n, *event): w at the far end, which is about N(0, I) for draws of the model."""
        start, end = self.ends(low)
        begin = x0 / math.hypot(self.spread, math.exp(start))
        return travelled(self.slope, begin, start, end, tolerance=tolerance, most=most)

    def decoded(self, latents: Tensor, *, low: float = 1e-3, tolerance: float = 1e-4, most: int = 200) -> Travelled:
        """The way back from `latents` (n, *event): its `w` is x_0 itself, in the units of the data."""
        start, end = self.ends(low)
        found = travelled(self.slope, latents, end, start, tolerance=tolerance, most=most)
        return Travelled(found.w * math.hypot(self.spread, math.exp(start)), found.q, found.evaluations)


def interpolated(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """Latents between `a` and `b` (*event) at `shares` (k,) of the way, along the great circle through both: (k,
    *event).

    A straight line would pass too near to the origin, where no latent of many coordinates lies (Shoemake 1985,
    'Animating rotation with quaternion curves').
    """
    u, v = a.flatten().double(), b.flatten().double()
    cosine = (u @ v / (u.norm() * v.norm()).clamp(min=1e-300)).clamp(-1, 1)
    angle, share = torch.arccos(cosine), shares.double()[:, None]
    if float(torch.sin(angle)) < 1e-6:
        mixed = (1 - share) * u + share * v
    else:
        mixed = (torch.sin((1 - share) * angle) * u + torch.sin(share * angle) * v) / torch.sin(angle)
    return mixed.reshape(-1, *a.shape).to(a.dtype)
