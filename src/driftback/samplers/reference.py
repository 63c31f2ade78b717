"""A few ways back of a model, followed closely, and what they say about where steps should be short.

The ways are walked with many small steps, and D = E[x_0 | x] is kept along them. A method of order p errs in a step by
about h^(p+1) |D^(p)|, the derivative being along the way in log r; a grid whose density is |D^(p)|^(1/(p+1)) makes all
these errors equal, which is what is best for their sum (de Boor 1973, 'Good approximation by splines with variable
knots'; compare Sabour et al. 2024, arXiv 2404.14507, who choose grids by a bound on the path's divergence). An error
counts by what becomes of it at the end: each way is followed twice, from its start and from one nudged a little, and
the ratio of their distances, at the end and on the way, is its gain there. It is large before a way decides between two
modes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.samplers.exponential import DATA, Bounded, Level, weights
from driftback.samplers.levels import levels_of
from driftback.samplers.multistep import Multistep
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Reference:
    """`ways` (m, n, *event) at m `levels`, whose log r falls in equal steps, `denoised` (m, n, *event) there, and the
    `ends` (n, *event) at t = 0. `gains` (m, n) float64 tells how an error at a level grows to the end, relative to the
    median way's. `evaluations` is what it cost per item.
    """

    process: Diffusion
    levels: tuple[Level, ...]
    ways: Tensor
    denoised: Tensor
    ends: Tensor
    gains: Tensor
    evaluations: int

    def at(self, level: Level) -> Tensor:
        """The ways at any `level` between the first and the last: (n, *event)."""
        logs = np.array([-math.log(one.ratio) for one in self.levels])
        k = int(np.clip(np.searchsorted(logs, -math.log(level.ratio), side="right") - 1, 0, len(logs) - 2))
        now = self.levels[k]
        if abs(level.ratio / now.ratio - 1) < 1e-12:
            return self.ways[k]
        near = range(max(0, min(k - 1, len(logs) - 4)), min(len(logs), max(0, min(k - 1, len(logs) - 4)) + 4))
        clock = Bounded(0.4 * self.process.spread)
        factors = weights(DATA, clock, 0.0, now, level, [self.levels[j].ratio for j in near])
        out = self.ways[k] * DATA.carry(now, level, 0.0)
        for j, factor in zip(near, factors, strict=True):
            out = torch.add(out, self.denoised[j], alpha=factor)
        return out

    def gain(self, level: Level) -> Tensor:
        """The gains at the level nearest to `level`: (n,)."""
        logs = np.array([math.log(one.ratio) for one in self.levels])
        return self.gains[int(np.abs(logs - math.log(level.ratio)).argmin())]

    def grid(self, steps: int, *, order: int = 3, floor: float = 0.05, seen: int | None = None) -> Tensor:
        """Times of `steps` steps that share the local errors of a method of order `order`, then the end: (steps + 1,).

        Nowhere is the density of steps below `floor` of its highest value, in log r. Only the first `seen` ways count.
        """
        width = math.log(self.levels[0].ratio / self.levels[-1].ratio) / (len(self.levels) - 1)
        stride = max(1, (len(self.levels) - 1) // 80)
        slopes = self.denoised[:, :seen].double()
        for _ in range(order):
            slopes = (slopes[stride:] - slopes[:-stride]) / (stride * width)
        first = (len(self.levels) - len(slopes)) // 2
        slopes = slopes.flatten(2) * self.gains[first : first + len(slopes), :seen, None]
        size = slopes.flatten(1).square().mean(1).sqrt().cpu().numpy() ** (1 / (order + 1))
        middle = (np.arange(len(size)) + order * stride / 2) / (len(self.levels) - 1)
        fine = np.linspace(0, 1, 2001)
        density = np.maximum(np.interp(fine, middle, size), floor * size.max() + 1e-300)
        share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
        places = np.interp(np.linspace(0, share[-1], steps), share, fine)
        logs = math.log(self.levels[0].ratio) + places * math.log(self.levels[-1].ratio / self.levels[0].ratio)
        times = self.process.time_of(torch.from_numpy(np.exp(logs)))
        times[0] = self.levels[0].t
        return torch.cat([times, times.new_zeros(1)])


@dataclass(frozen=True, eq=False)
class _Watched(Denoiser):
    """A denoiser that keeps what it says."""

    process: Diffusion
    true: Denoiser
    said: list[Tensor]

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        self.said.append(self.true.denoised(x, t))
        return self.said[-1]


NUDGE = 1e-3
"""How far the second start of a way lies from the first, in standard deviations of the noise there."""
MOST_GAIN = 100.0
"""No way counts for more than so many median ones."""


def reference(denoiser: Denoiser, x: Tensor, times: Tensor, *, smooth: bool = False) -> Reference:
    """The ways of `x` (n, *event) along fine `times`, log r falling in equal steps but for the last, which is to 0.

    They end at the last D. Where D is `smooth` to the last digits, as an exact one is in float64, it is continued to
    r = 0 by a polynomial instead; through a network's D that polynomial would magnify its roughness. Costs two
    evaluations a step. BadInput for a grid of fewer than 20 steps, or one that starts at alpha = 0.
    """
    levels = levels_of(denoiser.process, times)
    if len(levels) < 21 or levels[0].alpha == 0:
        raise BadInput("a reference wants 20 steps or more, from a ratio that is finite; give such times")
    watched = _Watched(denoiser.process, denoiser, [])
    rule = Multistep(watched, 5) if smooth else Multistep(watched, 4, correct=True, taper=True)
    ways = torch.stack([frame.x for frame in rule(x, times)])
    noise = Rng(0).child("nudge").normal(x.shape, dtype=x.dtype, device=x.device)
    nudged = replace(rule, denoiser=denoiser)(x + NUDGE * levels[0].sigma * noise, times)
    apart = torch.stack(
        [(frame.x - way).flatten(1).double().norm(dim=1) for frame, way in zip(nudged, ways, strict=True)]
    )
    grown = apart[-1] / apart[:-1].clamp(min=1e-300)
    gains = (grown / grown.median(1, keepdim=True).values).nan_to_num(1.0).clamp(max=MOST_GAIN)
    said = torch.stack(watched.said)
    return Reference(denoiser.process, levels[:-1], ways[:-1], said, ways[-1], gains, 2 * len(said))
