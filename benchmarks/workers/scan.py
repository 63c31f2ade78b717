"""How many evaluations a sampler needs: the search over its settings, the same for every library.

A sampler is a function of a denoiser, points and noise levels. Its settings are a grid (evenly spaced in a warped
sigma), the lowest noise, and how it ends: there ('stop'), there and then denoised by one more evaluation, or with
a step of its own to no noise ('zero'). What is left of an error when all the way to the lowest noise is exact is
known beforehand, so each tolerance has only settings that can reach it. These are tried at few evaluations on few
points, the better ones at more, and the best around the crossing, one evaluation after the other, on all points.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import fmean

import torch
from torch import Tensor

from workers.mixtures import HIGH, Counted, Problem
from workers.network import Pictures

Walk = Callable[[Counted, Tensor, Tensor], Tensor]
"""walk(denoise, x, sigmas): from `x` at sigmas[0] = 80 to sigmas[-1], which may be 0; float64, (steps + 1,)."""
Warp = tuple[Callable[[float], float], Callable[[Tensor], Tensor]]
BETA_0, BETA_D = 0.1, 19.9


def power(rho: float) -> Warp:
    """Karras's grid."""
    return (lambda s: s ** (1 / rho)), (lambda u: u**rho)


WARPS: dict[str, Warp] = {
    **{f"rho {rho}": power(rho) for rho in (3, 5, 7, 9)},
    "log": (math.log, torch.exp),
    "angle": (math.atan, torch.tan),  # the cosine schedule
    "straight": (lambda s: s / (1 + s), lambda u: u / (1 - u)),  # straight-line flow matching
    "vp": (  # the variance-preserving SDE with linear beta
        lambda s: (math.sqrt(BETA_0**2 + 2 * BETA_D * math.log1p(s**2)) - BETA_0) / BETA_D,
        lambda u: torch.expm1(BETA_D * u**2 / 2 + BETA_0 * u).sqrt(),
    ),
}
LOWS = (0.002, 0.005, 0.01, 0.02, 0.05)
LADDERS = {
    1e-2: ((12, 80), (20, 12)),
    1e-3: ((24, 80), (48, 10)),
    1e-4: ((24, 80), (48, 10), (96, 6)),
}
"""For each tolerance: evaluations, and how many settings at most are tried with them."""
MARGIN = 0.8
"""The share of a tolerance that a setting may spend on what no number of steps cures."""
MOST = 240
"""Evaluations at which the search gives up."""


@dataclass(frozen=True)
class Setting:
    """A grid and an end."""

    warp: str
    low: float
    end: str

    def __str__(self) -> str:
        return f"{self.warp}, {self.low:g}, {self.end}"

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels from 80 down, float64 (steps + 1,)."""
        there, back = WARPS[self.warp]
        zero = self.end == "zero"
        grid = back(torch.linspace(there(HIGH), there(self.low), steps + 1 - zero, dtype=torch.float64))
        grid[0], grid[-1] = HIGH, (self.low if len(grid) > 1 else HIGH)
        return torch.cat([grid, torch.zeros(1, dtype=torch.float64)]) if zero else grid


@dataclass(frozen=True)
class Solver:
    """A sampler of a library under the name that the library gives it."""

    name: str
    walk: Walk
    cost: int = 1
    """Evaluations a step."""
    ends: tuple[str, ...] = ("stop", "denoised")
    warps: tuple[str, ...] = tuple(WARPS)
    lows: tuple[float, ...] = LOWS

    def settings(self) -> list[Setting]:
        """All that are tried."""
        return [Setting(*parts) for parts in product(self.warps, self.lows, self.ends)]

    def run(self, setting: Setting, problem: Problem, evaluations: int) -> tuple[Tensor, int]:
        """The ends of all points with at most about `evaluations`, and how many it took."""
        spare = setting.end != "stop"
        steps = max((evaluations - spare) // self.cost, 1) + (setting.end == "zero")
        denoise = Counted(problem)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = self.walk(denoise, problem.start, setting.sigmas(steps))
            x = denoise(x, setting.low) if setting.end == "denoised" else x
        return x, denoise.evaluations


@dataclass(frozen=True)
class Reading:
    """What one run gave: evaluations a point, and the error of each seed."""

    evaluations: int
    errors: list[float]

    @property
    def error(self) -> float:
        """Mean over the seeds; infinite where the sampler blew up."""
        mean = fmean(self.errors)
        return mean if math.isfinite(mean) else math.inf


Points = tuple[Problem | Pictures, Tensor]
"""A problem and its truth: of a mixture at LOWS, the highest first, and at no noise, of pictures at no noise."""
Found = dict[Setting, dict[int, Reading]]
"""Readings by setting and the evaluations that were asked for."""


def read(solver: Solver, setting: Setting, problem: Problem, truth: Tensor, evaluations: int) -> Reading:
    x, spent = solver.run(setting, problem, evaluations)
    return Reading(spent, problem.errors(x, truth))


def crossing(readings: list[Reading], tolerance: float) -> float:
    """Where the error is about `tolerance`, on straight lines between the readings in logarithms."""
    known = [(math.log(r.evaluations), math.log(r.error)) for r in readings if 0 < r.error < math.inf]
    aim = math.log(tolerance)
    if not known:
        return math.inf
    if known[0][1] <= aim or len(known) == 1:
        x, y = known[0]
        return math.exp(x + min((y - aim) / 3, 5))  # of third order, for want of better
    for (x, y), (x1, y1) in pairwise(known):
        if y1 <= aim:
            return math.exp(x + (y - aim) / (y - y1) * (x1 - x))
    slope = (y - y1) / (x1 - x)
    return math.exp(min(x1 + (y1 - aim) / slope, 12)) if slope > 0.1 else math.inf


def left(setting: Setting, problem: Problem, truth: Tensor) -> float:
    """The error that remains when the way down to the lowest noise is exact; 0 for a sampler's own step to none."""
    if setting.end == "zero":
        return 0.0
    there = truth[LOWS[::-1].index(setting.low)]
    there = problem.denoised(there, setting.low) if setting.end == "denoised" else there
    return fmean(problem.errors(there, truth[-1]))


def ladder(solver: Solver, kept: list[Setting], few: Points, tolerance: float, found: Found) -> list[Setting]:
    """`kept` at few evaluations, then fewer of them at more: the last, best first. `found` keeps the readings."""
    for evaluations, most in LADDERS[tolerance]:
        kept = sorted(kept, key=lambda s: crossing(_readings(found, s), tolerance))[:most]
        for setting in kept:
            readings = found.setdefault(setting, {})
            if evaluations not in readings:
                readings[evaluations] = read(solver, setting, few[0], few[1][-1], evaluations)
    return sorted(kept, key=lambda s: crossing(_readings(found, s), tolerance))


def _readings(found: Found, setting: Setting) -> list[Reading]:
    return [reading for _, reading in sorted(found.get(setting, {}).items())]


def fewest(
    solver: Solver, setting: Setting, problem: Problem, truth: Tensor, tolerance: float, guess: float
) -> Reading | None:
    """The fewest evaluations near `guess` with an error of at most `tolerance`; None if none up to MOST do."""
    dial, best, misses = max(round(guess), 3), None, 0
    while dial <= MOST:
        reading = read(solver, setting, problem, truth, dial)
        if reading.error <= tolerance:
            best = reading
            break
        dial += max(1, dial // 32)
    while best and misses < 2 and dial > 2:
        dial -= 1
        reading = read(solver, setting, problem, truth, dial)
        misses += reading.error > tolerance and reading.evaluations < best.evaluations
        if reading.error <= tolerance and reading.evaluations < best.evaluations:
            best, misses = reading, 0
    return best


def search(solver: Solver, few: Points, many: Points, tolerances: list[float], top: int = 3) -> dict:
    """For each tolerance the best reading and its setting; settings are ranked on `few` points, read on `many`."""
    found: Found = {}
    answer = {}
    remains = {setting: left(setting, *many) for setting in solver.settings()}
    for tolerance in tolerances:
        able = [setting for setting, error in remains.items() if error < MARGIN * tolerance]
        settings = ladder(solver, able, few, tolerance, found)[:top]
        guesses = [(crossing(_readings(found, s), tolerance), s) for s in settings]
        best: tuple[Reading, Setting] | None = None
        for guess, setting in guesses:
            if guess > MOST * 1.25 or (best and guess > 1.2 * best[0].evaluations):
                continue
            reading = fewest(solver, setting, many[0], many[1][-1], tolerance, guess)
            if reading and (best is None or reading.evaluations < best[0].evaluations):
                best = reading, setting
        answer[f"{tolerance:g}"] = (
            {"evaluations": best[0].evaluations, "setting": str(best[1]), "errors": best[0].errors}
            if best
            else {"evaluations": None, "about": guesses[0][0] if guesses and math.isfinite(guesses[0][0]) else None}
        )
    return answer


def nearest(solver: Solver, few: Points, many: Points, budgets: list[int], top: int = 3) -> dict:
    """For each budget of evaluations the least error and its setting; ranked on `few` points, read on `many`."""
    answer = {}
    for budget in budgets:
        tried = [(read(solver, setting, few[0], few[1], budget), setting) for setting in solver.settings()]
        able = sorted((one for one in tried if one[0].evaluations <= budget), key=lambda one: one[0].error)[:top]
        readings = [(read(solver, setting, many[0], many[1], budget), setting) for _, setting in able]
        if readings:
            best, setting = min(readings, key=lambda one: one[0].error)
            answer[str(budget)] = {
                "evaluations": best.evaluations,
                "setting": str(setting),
                "error": best.error if math.isfinite(best.error) else None,
                "errors": [error if math.isfinite(error) else None for error in best.errors],
            }
    return answer


def floor(solver: Solver, problem: Problem, truth: Tensor, evaluations: int) -> float:
    """The smallest error with many evaluations: what is left is rounding, or a rule that does not converge."""
    settings = [s for s in solver.settings() if s.low == LOWS[0] and s.warp in ("rho 7", "log")]
    return min(read(solver, setting, problem, truth[-1], evaluations).error for setting in settings)
