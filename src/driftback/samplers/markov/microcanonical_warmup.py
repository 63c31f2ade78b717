"""Warm-up without acceptance: the step from the energy's error, the length from how soon the points forget themselves.

The error of a leapfrog grows as step^3, so its variance per dimension, Var[dE] / d, meets the aim at step (aim d /
dE^2)^(1/6), averaged with weights that distrust errors far from the aim; the length is .4 step times the
autocorrelation time in moves (Robnik et al. 2023, arXiv 2212.08549, on tuning; constants as in blackjax). The shape is
the points' variance in the middle. All chains together give one step, one shape and one length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import State
from driftback.samplers.markov.warmup import Shape

if TYPE_CHECKING:
    from driftback.samplers.markov.microcanonical import Glide, Microcanonical

FIRST, SHAPED, STEPPED = 0.1, (0.25, 0.6), 0.75
"""Until these shares of the moves: the step alone; the shape too, in windows; the step for it; then the length."""
MEMORY, TRUST, SHRINK = 150, 1.5, 0.8
LENGTH, WINDOW = 0.4, 5.0
"""The length in autocorrelation times, and the window that these are summed over, in the same."""


@dataclass(frozen=True)
class Search:
    """The weighted mean of error / step^6, and the step below which energies have not been lost."""

    weight: float = 0.0
    total: float = 0.0
    most: float = math.inf

    def followed(self, move: Glide, step: float, aim: float, d: int) -> tuple[Search, float]:
        """After a move of `step`, and the step to take next."""
        most = step * SHRINK if bool((~move.accepted).double().mean() > 0.1) else self.most
        changed = torch.zeros(()) if move.changed is None else move.changed[move.accepted].double()
        xi = float(changed.square().mean()) / (d * aim) + 1e-8 if changed.numel() else math.inf
        if not math.isfinite(xi):
            return replace(self, most=most), min(step * SHRINK, most)
        keep, weight = (MEMORY - 1) / (MEMORY + 1), math.exp(-((math.log(xi) / (6 * TRUST)) ** 2) / 2)
        search = Search(keep * self.weight + weight, keep * self.total + weight * xi / step**6, most)
        return search, min((search.weight / search.total) ** (1 / 6), most)


@torch.no_grad()
def warm(
    kernel: Microcanonical, state: State, noise: Noise, moves: int
) -> Iterator[tuple[Microcanonical, State, Glide]]:
    """Move `state`, and yield after each move the kernel as tuned so far. BadInput for fewer than 20 moves."""
    if moves < 20:
        raise BadInput(f"{moves} moves tune nothing; give 20 or more")
    first, stepped, ends = round(FIRST * moves), round(STEPPED * moves), [round(share * moves) for share in SHAPED]
    like, d = state.log_prob, state.x[0].numel()
    search, step, shape = Search(), float(kernel.step.mean()), None
    seen: list[Tensor] = []
    for k in range(moves):
        state, move = kernel(state, noise.at(k))
        points = state.x.flatten(1).double()
        if k < stepped:
            search, step = search.followed(move, step, kernel.variance, d)
            kernel = kernel.tuned(like.new_tensor(step))
            if first <= k < ends[-1]:
                shape = (shape or Shape.none(points, pooled=True, dense=False)).seen(points)
            if k + 1 in ends and shape is not None:
                # One standard deviation is the unit from now on; what is known of the step is of the other shape.
                kernel, search, shape = kernel.tuned(like.new_tensor(step), shape.metric(like)), Search(), None
        else:
            seen.append(points)
        if k + 1 == moves:
            kernel = replace(kernel, length=max(LENGTH * step * autocorrelation_time(torch.stack(seen)), step))
        yield kernel, state, move


def autocorrelation_time(x: Tensor) -> float:
    """1 + 2 sum of the autocorrelations of `x` (moves, n, d), in moves; its mean over the coordinates.

    The chains are pooled around their common mean, and the sum ends at 5 times itself (Sokal 1997, 'Monte Carlo methods
    in statistical mechanics', section 3).
    """
    moves = len(x)
    apart = x - x.mean((0, 1))
    power = torch.fft.rfft(apart, 2 * moves, dim=0).abs().square().mean(1)
    covariance = torch.fft.irfft(power, dim=0)[:moves] / torch.arange(moves, 0, -1)[:, None].to(x)
    rho = covariance / covariance[0].clamp(min=torch.finfo(x.dtype).tiny)
    times = 2 * rho.cumsum(0) - 1
    inside = torch.arange(moves)[:, None].to(x) < WINDOW * times
    last = inside.long().cumprod(0).sum(0).clamp(max=moves - 1)
    return float(times.gather(0, last[None]).clamp(min=1.0).mean())
