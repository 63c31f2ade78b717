"""A worker of benchmarks/solvers.py: answers what a library's samplers do, one line of JSON per question."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.components import compared, moments
from workers.mixtures import Problem
from workers.network import Pictures
from workers.scan import LOWS, Setting, Solver, floor, nearest, search

NOISY = tuple(Setting(warp, low, "denoised") for warp in ("rho 3", "rho 7", "log") for low in (0.002, 0.01, 0.03))
"""The grids on which samplers with noise are tried."""


@cache
def exact(problem: Problem) -> tuple[Tensor, Tensor]:
    """The components of twice as many exact draws as `problem` has."""
    more = Problem(problem.dimension, problem.seeds, 2 * problem.points)
    return moments(more, more.clean)


class Bench:
    """The samplers of one library: `solvers` follow the ODE, `noisy` add noise on the way."""

    def __init__(self, package: str, solvers: list[Solver], noisy: list[Solver]) -> None:
        self.package = package
        self.solvers = {solver.name: solver for solver in solvers}
        self.noisy = {solver.name: solver for solver in noisy}

    def hello(self) -> dict:
        """Who this is, its samplers, and the evaluations a step of the noisy ones."""
        costs = {name: solver.cost for name, solver in self.noisy.items()}
        solvers, noisy = list(self.solvers), list(self.noisy)
        return {"version": version(self.package), "solvers": solvers, "noisy": noisy, "costs": costs}

    def solve(self, solver: str, few: list[int], many: list[int], truths: str, tolerances: list[float]) -> dict:
        """Evaluations that a sampler needs; `few` and `many` are problems, whose truths lie in the folder `truths`."""
        small, large = (_loaded(numbers, truths) for numbers in (few, many))
        chosen = self.solvers[solver]
        answer = {"needs": search(chosen, small, large, tolerances)}
        # A solver that is fitted to each number of steps has no limit to look at.
        look = small[0].dimension == 2 and LOWS[0] in chosen.lows
        return answer | ({"floor": floor(chosen, *small, 500)} if look else {})

    def near(self, solver: str, few: tuple[list, str], many: tuple[list, str], budgets: list[int]) -> dict:
        """How near a sampler comes to a network's own ends; `few` and `many` are pictures and their truth's file."""
        small, large = ((Pictures(*numbers), torch.from_numpy(np.load(truth))) for numbers, truth in (few, many))
        return nearest(self.solvers[solver], small, large, budgets)

    def draw(self, solver: str, few: list[int], many: list[int], steps: int) -> dict:
        """The components of a noisy sampler's draws in `steps` steps, on the grid that is best on few points."""
        chosen, small, large = self.noisy[solver], Problem(*few), Problem(*many)

        def off(setting: Setting) -> float:
            found = compared(small, _drawn(chosen, setting, small, steps)[0], exact(small))
            return found["off"] if math.isfinite(found["off"]) else math.inf

        # A sampler with a step of its own to no noise takes it; for the others that step is the denoiser's.
        best = min((Setting(s.warp, s.low, chosen.ends[-1]) for s in NOISY), key=off)
        x, spent = _drawn(chosen, best, large, steps)
        return compared(large, x, exact(large)) | {"setting": str(best), "evaluations": spent}

    def truly(self, many: list[int]) -> dict:
        """The same statistics of exact draws: how large they are by chance."""
        problem = Problem(*many)
        return compared(problem, problem.clean, exact(problem))


def _drawn(solver: Solver, setting: Setting, problem: Problem, steps: int) -> tuple[Tensor, int]:
    torch.manual_seed(0)
    return solver.run(setting, problem, (steps - 1) * solver.cost + 1)


@cache
def _loaded_once(dimension: int, seeds: int, points: int, truths: str) -> tuple[Problem, Tensor]:
    truth = np.load(Path(truths) / f"{dimension}-{seeds}-{points}.npy")
    return Problem(dimension, seeds, points), torch.from_numpy(truth)


def _loaded(numbers: list[int], truths: str) -> tuple[Problem, Tensor]:
    return _loaded_once(*numbers, truths)


def serve(bench: Bench) -> None:
    """Answer questions from standard input until it ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(sys.argv[1]))
    acts: dict[str, Callable[..., dict]] = {
        "hello": bench.hello,
        "solve": bench.solve,
        "near": bench.near,
        "draw": bench.draw,
        "truly": bench.truly,
    }
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = acts[task.pop("act")](**task)
        except Exception as error:  # a rival's failure is a result
            answer = {"failed": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)
