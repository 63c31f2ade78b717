"""A worker of benchmarks/chains.py: runs a library's chains, and says how many effective draws came out for what.

The smallest bulk effective sample size over a target's quantities, by arviz-stats over all chains (Vehtari et al. 2021,
arXiv 1903.08008), is computed here, the same for all, outside of the time that is taken.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol, TypeVar

import numpy as np
import torch
from arviz_stats.base import array_stats

from workers.chains_targets import problem

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What is to be run: `chains` of `draws` each on a target, tuned in `warmup` moves with a `metric`, on `devices`.

    Where `settle` is not 0 only one chain is tuned; then all take what it found, and where it is, and settle for so
    many moves.
    """

    target: str
    chains: int
    draws: int
    warmup: int
    metric: str
    settle: int = 0
    devices: int = 1


@dataclass
class Clock:
    """Seconds that something took, by the wall and of all processors."""

    wall: float = 0.0
    cpu: float = 0.0

    def timed(self, work: Callable[[], T]) -> T:
        """What `work` gives; its time is added."""
        wall, cpu = time.perf_counter(), time.process_time()
        out = work()
        self.add(time.perf_counter() - wall, time.process_time() - cpu)
        return out

    def add(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu


@dataclass
class Ran:
    """Draws `x` (chains, draws, d), and evaluations (of gradients, or where there are none of densities) and times."""

    x: np.ndarray
    evaluations: tuple[int, int]
    """In the warm-up, and then."""
    warm: Clock
    draw: Clock
    compiled: Clock = field(default_factory=Clock)


class Library(Protocol):
    """A library's chains."""

    package: str
    counts: str
    """What it evaluates: 'gradients' or 'densities'."""

    def check(self, target: str) -> dict:
        """Log-densities (n,) and gradients (n, d) at `points(target)`, as lists."""
        ...

    def prepare(self, asked: Asked) -> None:
        """Compile what `run` will need, where that is a thing to do."""
        ...

    def run(self, asked: Asked, seed: int) -> Ran:
        """The chains of a seed."""
        ...


def judged(target: str, x: np.ndarray) -> dict:
    """The smallest bulk ESS over the quantities of draws (chains, draws, d), the largest R-hat, and means that are off.

    `off` counts standard errors from the true mean, where it is known, of the worst quantity.
    """
    law = problem(target)
    flat = law.quantities(torch.from_numpy(np.ascontiguousarray(x.reshape(-1, x.shape[-1]))))
    values = flat.reshape(*x.shape[:2], -1).numpy()
    along = {"chain_axis": 0, "draw_axis": 1}
    columns = [values[..., j] for j in range(values.shape[2])]
    ess = np.array([float(array_stats.ess(one, method="bulk", **along)) for one in columns])
    if len(x) == 1:  # then its halves have to agree
        columns = [one[:, : one.shape[1] // 2 * 2].reshape(2, -1) for one in columns]
    found = {"ess": float(ess.min()), "rhat": max(float(array_stats.rhat(one, **along)) for one in columns)}
    if law.truth.mean is not None and law.truth.deviation is not None:
        off = (values.mean((0, 1)) - law.truth.mean.numpy()) / law.truth.deviation.numpy() * np.sqrt(ess)
        found["off"] = float(np.abs(off).max())
    return found


def measured(library: Library, asked: Asked, seed: int) -> dict:
    """One row of the results."""
    ran = library.run(asked, seed)
    if ran.x.shape[:2] != (asked.chains, asked.draws) or ran.x.dtype != np.float64 or not np.isfinite(ran.x).all():
        raise ValueError(f"draws of shape {ran.x.shape} and type {ran.x.dtype} are not what was asked for")
    clocks = {"warm": ran.warm, "draw": ran.draw, "compiled": ran.compiled}
    seconds = {name: {"wall": clock.wall, "cpu": clock.cpu} for name, clock in clocks.items()}
    evaluations = dict(zip(("warm", "draw"), ran.evaluations, strict=True))
    return judged(asked.target, ran.x) | {"evaluations": evaluations, "seconds": seconds}


def serve(made: Callable[[], Library]) -> None:
    """Answer questions from standard input until it ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library = made()
    for line in sys.stdin:
        task = json.loads(line)
        act = task.pop("act")
        try:
            if act == "hello":
                answer = {"version": version(library.package), "counts": library.counts}
            elif act == "check":
                answer = library.check(**task)
            elif act == "prepare":
                library.prepare(Asked(**task))
                answer = {}
            else:
                seed = task.pop("seed")
                answer = measured(library, Asked(**task), seed)
        except Exception as error:  # a rival's failure is a result
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)


def threads() -> int:
    """How many threads this worker may use: its first argument. It also keeps to so many of the processors it has."""
    count = int(sys.argv[1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    torch.set_num_threads(count)
    return count
