"""What can be verified by name: our samplers, schedules and scores, the faulty ones, a user's file, a fitted model.

A name becomes a `Subject` here, once: its kind, what it claims, where that comes from, and how its verification is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.evaluation.verification import TARGET, Verification, verify_process, verify_sampler, verify_score
from driftback.evaluation.verification.check import Kind
from driftback.evaluation.verification.faulty import FAULTY, Faulty
from driftback.evaluation.verification.ito import Score as ItoScore
from driftback.evaluation.verification.known import Growing, turning
from driftback.evaluation.verification.order import standard
from driftback.processes.diffusion import Diffusion
from driftback.processes.fokker_planck import axis, record
from driftback.processes.nonlinear import Isotropic, ItoSDE
from driftback.processes.schedules import SCHEDULES, VP, Schedule
from driftback.recipes.diagnose import diagnose
from driftback.recipes.evaluate import original
from driftback.recipes.model import load
from driftback.recipes.theirs import verify_file
from driftback.samplers.published import SAMPLERS, Named
from driftback.scores.grid import GridDenoiser, GridDensity
from driftback.scores.recorded import RecordedDenoiser

PREFIX = "faulty:"
CLOUD = 50
"""Points of the recorded cloud."""


@dataclass(frozen=True)
class Subject:
    """Something with a name that can be verified: `run(seed)` does it."""

    kind: Kind
    claims: str
    source: str
    run: Callable[[int], Verification]
    caught_by: str = ""
    """The check that has to fail, of a faulty one."""


@cache
def subjects() -> dict[str, Subject]:
    """All of ours by name: samplers, then schedules, then scores."""
    found = {name: _sampler(name, named) for name, named in SAMPLERS.items()}
    found |= {name: _schedule(name, schedule) for name, schedule in SCHEDULES.items()}
    return found | {
        "linear": Subject(
            "process",
            "its law and its reversal",
            "LinearSDE: a turning drift with correlated noise",
            lambda seed: _process("linear", *turning(), seed),
        ),
        "nonlinear": Subject(
            "process",
            "its law and its reversal",
            "NonlinearSDE: geometric Brownian motion, with noise that depends on the point",
            lambda seed: _process("nonlinear", Growing(), Growing().score, seed),
        ),
        "exact": _score("exact", "the exact denoiser of a mixture", _exact),
        "recorded": _score("recorded", "the denoiser of a recorded cloud", _recorded),
        "grid": _score("grid", "the score of densities recorded on a grid, to 2 %", _grid),
    }


def faulty() -> dict[str, Subject]:
    """The faulty ones, as `faulty:NAME`."""
    return {PREFIX + name: _faulty(PREFIX + name, one) for name, one in FAULTY.items()}


def _faulty(name: str, one: Faulty) -> Subject:
    return Subject(
        one.kind, one.about, f"has to fail: {one.caught_by}", lambda seed: one.run(name, seed), one.caught_by
    )


def verify(what: str, *, seed: int = 0) -> list[Verification]:
    """The verifications of `what`: a name, a Python file, which is run, or the folder of a fitted model.

    BadInput if it is none of these.
    """
    known = subjects() | faulty()
    if what in known:
        return [known[what].run(seed)]
    path = Path(what).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            raise BadInput(f"there is no file {what}; give a name, a Python file or the folder of a model")
        return verify_file(path, seed=seed)
    if path.is_dir():
        model = load(path)
        return [diagnose(model, original(model.config), seed=seed, name=str(what))]
    raise BadInput(f"'{what}' is nothing that can be verified; 'driftback verify' lists the names that can")


def _sampler(name: str, named: Named) -> Subject:
    order = f"{'weak ' if named.noisy else ''}order {named.order}"
    claims = "the law of the data" if named.order is None else order
    return Subject(
        "sampler",
        claims,
        named.source,
        lambda seed: verify_sampler(named.make, named.order, subject=name, rng=seed),
    )


def _schedule(name: str, schedule: type[Schedule]) -> Subject:
    source = (schedule.__doc__ or "").splitlines()[0]
    return Subject("process", "its marginals", source, lambda seed: verify_process(schedule(), subject=name, rng=seed))


def _process(name: str, process: ItoSDE, score: ItoScore, seed: int) -> Verification:
    return verify_process(process, score=score, subject=name, rng=seed)


def _score(name: str, source: str, run: Callable[[str, int], Verification]) -> Subject:
    return Subject("score", "E[x_0 | x_t]", source, lambda seed: run(name, seed))


def _exact(name: str, seed: int) -> Verification:
    return verify_score(standard(), TARGET, tolerance=1e-6, subject=name, rng=seed)


def _recorded(name: str, seed: int) -> Verification:
    points = TARGET.sample(CLOUD, rng=0)
    cloud = Mixture(torch.ones(CLOUD), points, torch.zeros(CLOUD, 2, 2))
    return verify_score(RecordedDenoiser(standard().process, points), cloud, tolerance=1e-6, subject=name, rng=seed)


def _grid(name: str, seed: int) -> Verification:
    process = Diffusion(VP(), TARGET.event_shape)
    times = torch.linspace(0, 1, 41, dtype=torch.float64) ** 2
    density = GridDensity(record(Isotropic(process), TARGET, [axis(-5, 5, 120), axis(-5, 5, 120)], times))
    return verify_score(GridDenoiser(process, density), TARGET, tolerance=0.02, subject=name, rng=seed)
