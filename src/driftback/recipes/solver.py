"""Solvers fitted to a model: for each number of evaluations the error that was measured, so that a tolerance picks one.

A few ways of the model are followed closely, and samplers of the lengths that are asked for are fitted to them (see
`driftback.samplers.fitted`). What was measured is kept beside the model, so that it is done once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
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
from driftback.samplers.reference import Reference, reference
from driftback.scores.denoiser import Denoiser

LENGTHS = (4, 5, 6, 8, 10, 12, 16, 20, 26, 34, 44)
"""The numbers of evaluations that there are plans for."""
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


@dataclass(eq=False)
class Solver:
    """Plans for one model by their length: `fit` makes one when it is first asked for, then `keep` is called."""

    fit: Callable[[int], Choice]
    made: dict[int, Choice] = field(default_factory=dict)
    keep: Callable[[Solver], None] = lambda solver: None

    def of(self, length: int) -> Choice:
        """The plan of `length` evaluations."""
        if length not in self.made:
            self.made[length] = self.fit(length)
            self.keep(self)
        return self.made[length]

    def choose(self, tolerance: float = TOLERANCE, evaluations: int | None = None, each: int = 1) -> Choice:
        """The shortest plan that meets `tolerance`; or with a budget of `evaluations` the longest that it pays for,
        where an evaluation of D costs `each`.

        Where none is near enough, the most accurate one: its `error` says how near. BadInput for a tolerance that is
        not positive, or a budget below the shortest plan.
        """
        if not tolerance > 0:
            raise BadInput(f"a tolerance of {tolerance} cannot be met; give a positive one, {TOLERANCE} as a rule")
        if evaluations is not None:
            paid = [length for length in LENGTHS if each * length <= evaluations]
            if not paid:
                raise BadInput(f"{evaluations} evaluations are too few; give {each * LENGTHS[0]} or more")
            return self.of(paid[-1])
        for length in LENGTHS:
            if self.of(length).error <= tolerance:
                return self.of(length)
        return min(self.made.values(), key=lambda one: one.error)


def fitter(denoiser: Denoiser, x: Tensor, *, low: float, high: float) -> Callable[[int], Choice]:
    """Fits plans for ratios from `high` down to `low`, then to t = 0, to the ways of `x` (n, *event) from `high`.

    The ways are followed when the first plan is asked for.
    """
    process = denoiser.process

    @cache
    def ways() -> Reference:
        found = reference(denoiser, x, log_snr(process, FINE, low=low, high=high))
        refuse_not_finite(found.ends, "way", 0)
        return found

    def fit(length: int) -> Choice:
        one = fitted(denoiser, ways(), length)
        return Choice(tuple(one.times.tolist()), one.plan, one.error / process.spread)

    return fit


def keep(solver: Solver, path: Path, mark: str) -> None:
    """Write the plans of `solver`, of the weights `mark`, as JSON, whole or not at all; where nothing can be written,
    let it be.
    """
    plans = [_plain(solver.made[length]) for length in sorted(solver.made)]
    with suppress(BadInput):
        write_text(path, json.dumps({"version": VERSION, "weights": mark, "choices": plans}, allow_nan=False))


def _plain(choice: Choice) -> dict[str, Any]:
    steps = ({"carry": s.carry, "weights": s.weights, "mend": s.mend and asdict(s.mend)} for s in choice.plan)
    return {"times": choice.times, "error": choice.error, "steps": list(steps)}


def read(path: Path, mark: str) -> dict[int, Choice]:
    """The plans at `path` of the weights `mark`, by length; none where there are none that can be used."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["version"] != VERSION or record["weights"] != mark:
            return {}
        choices = [_choice(one) for one in record["choices"]]
        return {len(choice.plan): choice for choice in choices}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _choice(record: dict[str, Any]) -> Choice:
    plan = tuple(Step(*_factors(s), mend=Mend(*_factors(s["mend"])) if s["mend"] else None) for s in record["steps"])
    times, error = tuple(map(float, record["times"])), float(record["error"])
    if len(times) != len(plan) + 1 or not math.isfinite(error):
        raise ValueError("a plan does not fit its times")
    return Choice(times, plan, error)


def _factors(record: dict[str, Any]) -> tuple[float, tuple[float, ...]]:
    return float(record["carry"]), tuple(map(float, record["weights"]))
