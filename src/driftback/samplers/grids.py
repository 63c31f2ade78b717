"""Time grids for the way back: which noise levels a sampler visits, as decreasing times of a process.

Noise levels are given as ratios r = sigma / alpha, which mean the same for every schedule: r_i = (high^(1/rho) +
i/(n-1) (low^(1/rho) - high^(1/rho)))^rho (Karras et al. 2022, arXiv 2206.00364, equation 5), which for rho -> infinity
is uniform in the logarithm of the signal-to-noise ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion


def uniform(process: Diffusion, steps: int, *, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Times from `start` down to `end` in equal steps, float64 (steps + 1,). 0 <= end < start <= 1."""
    if not 0 <= end < start <= 1:
        raise BadInput(f"a way back from t = {start} to t = {end} does not exist; give 0 <= end < start <= 1")
    return torch.linspace(start, end, _checked(steps) + 1, dtype=torch.float64)


def karras(
    process: Diffusion, steps: int, *, low: float = 0.002, high: float = 80.0, rho: float = 7.0, end: float = 0.0
) -> Tensor:
    """Times at which the ratio falls from `high` to `low` on EDM's grid and then to `end`: float64 (steps + 1,).

    Ratios that the process does not reach are cut to its own range, so VE ends at its smallest noise, not at none; a
    `low` at or above its largest is refused.
    Start the points from `process.simple_at(times[0])`.
    """
    if rho <= 0:
        raise BadInput(f"rho is {rho}; give a positive number, 7 as a rule")
    return _by_ratio(process, steps, low, high, end, lambda r: r ** (1 / rho), lambda u: u**rho)


def log_snr(process: Diffusion, steps: int, *, low: float = 0.002, high: float = 80.0, end: float = 0.0) -> Tensor:
    """Times at which the ratio falls from `high` to `low` geometrically and then to `end`: as `karras`."""
    return _by_ratio(process, steps, low, high, end, torch.log, torch.exp)


def cosine(process: Diffusion, steps: int, *, low: float = 0.002, high: float = 80.0, end: float = 0.0) -> Tensor:
    """Times at which the angle arctan(ratio) falls in equal steps, then to `end`: as `karras`.

    They are the equal steps in t of the cosine schedule (Nichol and Dhariwal 2021, arXiv 2102.09672, section 3.2).
    """
    return _by_ratio(process, steps, low, high, end, torch.atan, torch.tan)


def _by_ratio(
    process: Diffusion,
    steps: int,
    low: float,
    high: float,
    end: float,
    warp: Callable[[Tensor], Tensor],
    unwarp: Callable[[Tensor], Tensor],
) -> Tensor:
    if not 0 <= end < high < math.inf or not 0 < low < high:
        raise BadInput(f"the ratios {high} > {low}, end {end} make no grid; give high > low > 0 and high > end >= 0")
    bottom, top = float(process.ratio(0.0)), float(process.ratio(1.0))
    if low >= (1 - 1e-9) * top:
        raise BadInput(f"the process ends at a ratio of {top:g}, so {low:g} is no place to go down to; give less")
    if high <= (1 + 1e-9) * bottom:
        raise BadInput(f"the process begins at a ratio of {bottom:g}, above {high:g}; give a higher one to start from")
    high, end = min(high, top), max(end, bottom)
    # Where the last ratio is no smaller than `low` the grid leads straight to it, otherwise it takes one more step.
    jumps = end < low
    ends = warp(torch.tensor([high, low if jumps else end], dtype=torch.float64))
    grid = torch.linspace(0, 1, _checked(steps) + (0 if jumps else 1), dtype=torch.float64)
    times = process.time_of(unwarp(ends[0] + grid * (ends[1] - ends[0])))
    times = torch.cat([times, process.time_of(end).reshape(1)]) if jumps else times
    # The ends are rounded to where the process says they are, so that t = 0 and t = 1 are met exactly.
    times[0] = 1.0 if high == top else times[0]
    times[-1] = 0.0 if end == bottom else times[-1]
    return times.clamp(0, 1)


def _checked(steps: int) -> int:
    if steps < 1:
        raise BadInput(f"{steps} steps lead nowhere; give at least 1")
    return steps


GRIDS: dict[str, Callable[..., Tensor]] = {"uniform": uniform, "karras": karras, "log-snr": log_snr, "cosine": cosine}
