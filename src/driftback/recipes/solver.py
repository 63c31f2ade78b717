"""Solvers fitted to a model: for each number of evaluations the error that was measured, so that a tolerance picks one.

A few ways of the model are followed closely once, and samplers of growing length are fitted to them (see
`driftback.samplers.fitted`). What was measured is kept beside the model, so that it is done once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.files import write_text
from driftback.recipes.finite import refuse_not_finite
from driftback.samplers.fitted import Fitted, fitted
from driftback.samplers.grids import log_snr
from driftback.samplers.multistep import Mend, Step
from driftback.samplers.reference import reference
from driftback.scores.denoiser import Denoiser

LENGTHS = (4, 5, 6, 8, 10, 12, 16, 20, 26, 34, 44)
"""The numbers of evaluations that are measured."""
FINE = 129
"""The steps of the ways that are followed closely."""
TOLERANCE = 0.01
"""The error that is asked for when nothing is said, in standard deviations of the data."""
VERSION = 2
FILE = "solver.json"
"""Its name in a model's folder."""


@dataclass(frozen=True)
class Choice:
    """A fitted plan: its `times` (steps + 1), its steps, and the `error` at the end in deviations of the data."""

    times: tuple[float, ...]
    plan: tuple[Step, ...]
    error: float

    def sampler(self, denoiser: Denoiser) -> Fitted:
        """The sampler of this plan for `denoiser`."""
        times = torch.tensor(self.times, dtype=torch.float64)
        return Fitted(denoiser, times, self.plan, self.error * denoiser.process.spread)


@dataclass(frozen=True)
class Solver:
    """Plans of growing length for one model."""

    choices: tuple[Choice, ...]

    def choose(self, tolerance: float = TOLERANCE, evaluations: int | None = None, each: int = 1) -> Choice:
        """The shortest plan that meets `tolerance`, or with a budget of `evaluations` the best that it pays for, where
        an evaluation of D costs `each`.

        Where none is near enough, the most accurate one: its `error` says how near. BadInput for a tolerance that is
        not positive, or a budget below the shortest plan.
        """
        if not tolerance > 0:
            raise BadInput(f"a tolerance of {tolerance} cannot be met; give a positive one, {TOLERANCE} as a rule")
        paid = [one for one in self.choices if evaluations is None or each * len(one.plan) <= evaluations]
        if not paid:
            least = each * len(self.choices[0].plan)
            raise BadInput(f"{evaluations} evaluations are too few; give {least} or more")
        best = min(paid, key=lambda one: one.error)
        return best if evaluations is not None else next((one for one in paid if one.error <= tolerance), best)


def fit_solver(
    denoiser: Denoiser,
    x: Tensor,
    *,
    low: float,
    high: float,
    lengths: tuple[int, ...] = LENGTHS,
    tolerance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Solver:
    """Fit plans for ratios from `high` down to `low`, then to t = 0, to the ways of `x` (n, *event) from `high`.

    Lengths are tried in order until one meets `tolerance`, in standard deviations of the data. After each
    `progress(done, lengths)` is called.
    """
    process = denoiser.process
    ways = reference(denoiser, x, log_snr(process, FINE, low=low, high=high))
    refuse_not_finite(ways.ends, "way", 0)
    choices: list[Choice] = []
    for done, steps in enumerate(lengths, 1):
        one = fitted(denoiser, ways, steps, orders=(4, 5), grids=((2, 0.1), (3, 0.05), (4, 0.02)))
        choices.append(Choice(tuple(one.times.tolist()), one.plan, one.error / process.spread))
        if progress:
            progress(done, len(lengths))
        if one.error <= tolerance * process.spread:
            break
    return Solver(tuple(choices))


def keep(solver: Solver, path: Path, mark: str) -> None:
    """Write `solver`, of the weights `mark`, as JSON, whole or not at all; where nothing can be written, let it be."""
    record = {"version": VERSION, "weights": mark, "choices": [_plain(choice) for choice in solver.choices]}
    with suppress(BadInput):
        write_text(path, json.dumps(record, allow_nan=False))


def _plain(choice: Choice) -> dict[str, Any]:
    steps = ({"carry": s.carry, "weights": s.weights, "mend": s.mend and asdict(s.mend)} for s in choice.plan)
    return {"times": choice.times, "error": choice.error, "steps": list(steps)}


def read(path: Path, mark: str) -> Solver | None:
    """The solver at `path` of the weights `mark`; None where there is none that can be used: it is made again then."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["version"] != VERSION or record["weights"] != mark or not record["choices"]:
            return None
        return Solver(tuple(_choice(one) for one in record["choices"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _choice(record: dict[str, Any]) -> Choice:
    plan = tuple(Step(*_factors(s), mend=Mend(*_factors(s["mend"])) if s["mend"] else None) for s in record["steps"])
    times, error = tuple(map(float, record["times"])), float(record["error"])
    if len(times) != len(plan) + 1 or not math.isfinite(error):
        raise ValueError("a plan does not fit its times")
    return Choice(times, plan, error)


def _factors(record: dict[str, Any]) -> tuple[float, tuple[float, ...]]:
    return float(record["carry"]), tuple(map(float, record["weights"]))
