"""The probability-flow ODE both ways, in coordinates in which Gaussian data stand still, with an integral along it.

With y = x / alpha, s the standard deviation of the data, r = s tan(a) and w = y / sqrt(s^2 + r^2), the ODE
dy/dlog r = y - D becomes dw/da = (w cos a - D / s) / sin a: nothing moves where D is that of N(0, s^2), which is so at
the far end for any data. In the angle a, from 0 to pi / 2, both ends are regular; log r, without an end on either side,
takes half as many evaluations more. What moves is followed by Dormand and Prince's pair of orders 5 and 4 (1980, 'A
family of embedded Runge-Kutta formulae'; Hairer, Norsett and Wanner 1993, table II.5.2), each item in steps of its own.
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
FIRST = 0.3
"""The first step, for a tolerance of 1, and for others by the rule's order; the estimated error corrects it."""

TOP = 200.0
"""Noise, in deviations of the data, at which what is left of them is not followed any more."""

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""dw/da and dq/da at `w` (n, *event) and clocks a (n,): (n, *event) and (n, k) float64."""
Lengths = Callable[[Tensor], Tensor]
"""Of steps at clocks (n,), (n,)."""


@dataclass(frozen=True)
class Travelled:
    """Where a way ended: `w` (n, *event), the integrals `q` (n, k), and what an item took on average."""

    w: Tensor
    q: Tensor
    evaluations: int


@dataclass
class _Going:
    """Items under way: their numbers, w, q, clocks, the steps that are planned, and the slopes where they stand."""

    number: Tensor
    w: Tensor
    q: Tensor
    clock: Tensor
    step: Tensor
    first: tuple[Tensor, Tensor]

    def some(self, rows: Tensor) -> _Going:
        first = (self.first[0][rows], self.first[1][rows])
        return _Going(self.number[rows], self.w[rows], self.q[rows], self.clock[rows], self.step[rows], first)


@torch.no_grad()
def travelled(
    slope: Slope,
    w: Tensor,
    start: float,
    end: float,
    *,
    tolerance: float,
    shortest: Lengths | None = None,
    widths: int = 0,
    even: Lengths = torch.ones_like,
    part: Callable[[Tensor], Slope] | None = None,
) -> Travelled:
    """Follow `slope` from the clock `start` to `end`, up or down, with `widths` integrals along the way.

    An item's step is as long as its estimated error allows: `tolerance` in w, root mean square over the event, and in
    each integral; but no shorter than `shortest` (default: 1 / 200 of the way), where a network's roughness would ask
    for endless ones. What is planned ahead follows `even`, the lengths at clocks of steps that are alike. An item that
    meets what is no number ends as NaN. `part` makes the slope of some items by their numbers: with it those that have
    not arrived go on alone as soon as they are a half.
    """
    n, way = len(w), end - start
    least = shortest or (lambda clock: torch.full_like(clock, abs(way) / 200))
    clock = torch.full((n,), start, dtype=torch.float64, device=w.device)
    step = torch.full_like(clock, min(FIRST * tolerance ** (1 / 5), abs(way))).clamp(min=least(clock))
    q = torch.zeros(n, widths, dtype=torch.float64, device=w.device)
    now = _Going(torch.arange(n, device=w.device), w, q, clock, step, slope(w, clock))
    ended, summed, spent = torch.empty_like(w), q.clone(), n
    while bool((open_ := now.clock != end).any()):
        if part is not None and 2 * int(open_.sum()) <= len(open_):
            ended[now.number], summed[now.number] = now.w, now.q
            now = now.some(open_)
            slope = part(now.number)
        before = even(now.clock)
        _step(slope, now, end, math.copysign(1.0, way), tolerance, least)
        now.step = torch.maximum(now.step * (even(now.clock) / before), least(now.clock))
        spent += len(A) * len(now.number)
    ended[now.number], summed[now.number] = now.w, now.q
    return Travelled(ended, summed, -(-spent // max(n, 1)))


def _step(slope: Slope, now: _Going, end: float, sign: float, tolerance: float, least: Lengths) -> None:
    """One step of each item, taken where its error fits, and the next one's length."""
    w, q, clock, first = now.w, now.q, now.clock, now.first
    left = (end - clock).abs()
    # A rest that is hardly longer than the step is taken with it.
    h = torch.where(now.step > left * 0.99, left, now.step)
    stages = [first]
    for row in A:
        there = clock + sign * h * sum(row)
        if row is A[-1]:
            there = torch.where(h == left, torch.full_like(clock, end), there)
        stages.append(slope(_moved(w, stages, row, sign * h, 0), there))
    ahead = _moved(w, stages, A[-1], sign * h, 0)
    off_w = _moved(torch.zeros_like(w), stages, OFF, h, 0).reshape(len(w), -1).double()
    error = off_w.square().mean(1).sqrt()
    if q.shape[1]:
        error = torch.maximum(error, _moved(torch.zeros_like(q), stages, OFF, h, 1).abs().amax(1))
    error = error / tolerance
    # What is no number will not become one: such an item has arrived, as NaN, for the caller to tell.
    lost = ~torch.isfinite(error)
    there, error = torch.where(lost, end, there), torch.where(lost, 0.0, error)
    ahead = torch.where(per_item(lost.double(), w) > 0, torch.full_like(ahead, torch.nan), ahead)
    # A rest that was taken with the shortest step is a hundredth longer.
    fits = (error <= 1) | (h <= least(clock) * 1.02)
    chosen = per_item(fits.double(), w) > 0
    now.q = torch.where(fits[:, None], _moved(q, stages, A[-1], sign * h, 1), q)
    now.first = (
        torch.where(chosen, stages[-1][0], first[0]),
        torch.where(fits[:, None], stages[-1][1], first[1]),
    )
    now.w, now.clock = torch.where(chosen, ahead, w), torch.where(fits, there, clock)
    grown = now.step * (0.9 * error.clamp(min=1e-12) ** (-1 / 5)).clamp(0.2, 10.0)
    # A step cut short at the end says nothing against the longer one that was planned.
    now.step = torch.where(fits & (h < now.step), now.step, grown).clamp(min=least(now.clock))


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

    def seen(self, w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """y and the times at clocks (n,)."""
        y = w * per_item(self.spread / clock.cos(), w)
        return y, self.denoiser.process.time_of(self.spread * clock.tan())

    def denoised(self, y: Tensor, t: Tensor) -> Tensor:
        """D as a function of y."""
        return self.denoiser.denoised(y * per_item(self.denoiser.process.alpha(t), y), t)

    def slope_of(self, w: Tensor, denoised: Tensor, clock: Tensor) -> Tensor:
        """dw/da."""
        return (w * per_item(clock.cos(), w) - denoised / self.spread) / per_item(clock.sin(), w)

    def slope(self, w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """dw/da, and nothing to integrate."""
        y, t = self.seen(w, clock)
        return self.slope_of(w, self.denoised(y, t), clock), torch.zeros(
            len(w), 0, dtype=torch.float64, device=w.device
        )

    def part(self, rows: Tensor) -> Slope:
        """The slope of the items `rows` alone."""
        return Whitened(self.denoiser.of(rows), self.spread).slope

    def ends(self, low: float) -> tuple[float, float]:
        """The clock where the way starts, at a noise of `low` spreads, and where it ends: at 200, or where the process
        does.
        """
        return math.atan(low), math.atan(min(float(self.denoiser.process.ratio(1.0)) / self.spread, TOP))

    def shortest(self, low: float, most: int) -> Lengths:
        """1 / `most` of the way in log r, whose derivative by the clock is 1 / (sin a cos a)."""
        start, end = self.ends(low)
        length = math.log(math.tan(end) / math.tan(start)) / most
        return lambda clock: length * clock.sin() * clock.cos()

    def encoded(self, x0: Tensor, *, low: float = 1e-3, tolerance: float = 1e-4, most: int = 200) -> Travelled:
        """The latents of `x0` (n, *event): w at the far end, which is about N(0, I) for draws of the model."""
        start, end = self.ends(low)
        begin, shortest = x0 * (math.cos(start) / self.spread), self.shortest(low, most)
        return travelled(
            self.slope, begin, start, end, tolerance=tolerance, shortest=shortest, even=torch.cos, part=self.part
        )

    def decoded(self, latents: Tensor, *, low: float = 1e-3, tolerance: float = 1e-4, most: int = 200) -> Travelled:
        """The way back from `latents` (n, *event): its `w` is x_0 itself, in the units of the data."""
        start, end = self.ends(low)
        shortest = self.shortest(low, most)
        found = travelled(
            self.slope, latents, end, start, tolerance=tolerance, shortest=shortest, even=torch.cos, part=self.part
        )
        return Travelled(found.w * (self.spread / math.cos(start)), found.q, found.evaluations)


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
