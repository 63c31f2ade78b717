"""One target, one budget, every way of drawing from it: the experiment that the whole library is about.

Chains and populations evaluate the target's density; the way back evaluates a score, exact, recorded from draws, or
learned once from them. All get the same number of evaluations for the same number of points, and are judged by their
distance to exact draws, beside the distance that other exact draws have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import near
from driftback.distributions.gaussian import Gaussian
from driftback.distributions.mixture import Mixture
from driftback.distributions.target import Problem
from driftback.errors import BadInput, DriftbackError
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.recipes.density.asked import SPINS, method_for
from driftback.recipes.density.draws import Draws
from driftback.recipes.density.entries import Comparison, Entry, judged
from driftback.recipes.density.methods import METHODS, Options, checked
from driftback.recipes.density.populations import Asked, drawn
from driftback.recipes.density.problem import problem_of
from driftback.recipes.density.run import Run
from driftback.recipes.fit import fit
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.multistep import Multistep
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.recorded import RecordedDenoiser

BUDGET, POINTS, CHAINS, WARMUP = 200_000, 1000, 20, 60
SEEN = 2000
"""So many exact draws are recorded, and learned from."""
LOW, HIGH = 0.004, 160.0
"""Where the way back ends and begins, as sigma in deviations of the target (EDM's, whose data have deviation 1/2)."""
MINUTES = 0.5


@dataclass(frozen=True, eq=False)
class Stage:
    """What every way is given."""

    problem: Problem
    budget: int
    n: int
    seed: int
    exact: Tensor | None
    """Exact draws to record and to learn from."""
    minutes: float
    rng: Rng = field(default_factory=lambda: Rng(0))

    @property
    def steps(self) -> int:
        """Steps of a way back that evaluates its score once a step."""
        return max(2, self.budget // self.n)


Way = Callable[[Stage], Entry]


def chain(method: str) -> Way:
    """A chain method by name: as many draws as the budget pays for, of which n are kept at equal distances."""

    def run(stage: Stage) -> Entry:
        options = checked(method, method_for(stage.problem, method).options, {})
        draws = max(1, stage.budget // CHAINS)
        chains = Run(stage.problem, method, options, CHAINS, draws, WARMUP, seed=stage.seed, budget=stage.budget)
        chains.go()
        found = chains.result()
        return _of_draws(method, METHODS[method].about, found, stage.n)

    return run


def _of_draws(name: str, about: str, found: Draws, n: int) -> Entry:
    kept = found.x
    if found.log_weights is not None:
        kept = found.resampled(n)
    elif len(kept) > n:
        kept = kept[np.linspace(0, len(kept) - 1, n).round().astype(int)]
    return Entry(
        name,
        about,
        kept,
        found.density_evaluations,
        found.seconds,
        ess=found.ess,
        log_z=found.log_z,
        log_z_error=found.log_z_error,
    )


def smc(stage: Stage) -> Entry:
    """A population with twice as many particles as points are wanted, so that copies are few."""
    particles = 2 * stage.n
    options = Options(evaluations=max(4, stage.budget // particles))
    found = drawn("smc", Asked(stage.problem, particles, options, stage.rng.child("smc")), None)
    return _of_draws("smc", "tempered sequential Monte Carlo", found, stage.n)


def back(name: str, about: str, make: Callable[[Stage, Diffusion], Denoiser]) -> Way:
    """The reverse SDE with the denoiser that `make` makes, in as many steps as the budget pays for."""

    def run(stage: Stage) -> Entry:
        spread = _spread(stage)
        process = Diffusion(EDM(HIGH * spread), stage.problem.event_shape, spread=spread)
        denoiser = make(stage, process)
        began = time.perf_counter()
        times = karras(process, stage.steps, low=LOW * spread, high=HIGH * spread)
        start = process.simple_at(float(times[0])).sample(stage.n, rng=stage.rng.child("start")).double()
        frame = last(Multistep(denoiser, 2, noise=1.0)(start, times, rng=stage.rng.child("way")))
        seconds = time.perf_counter() - began
        return Entry(name, about, frame.x.numpy(), frame.evaluations * stage.n, seconds, ess=float(stage.n))

    return run


def _spread(stage: Stage) -> float:
    if stage.exact is None:
        raise BadInput("exact draws are not known, so there is nothing to begin with")
    return float(stage.exact.flatten(1).std(0).square().mean().sqrt())


def exact_score(stage: Stage, process: Diffusion) -> Denoiser:
    """The denoiser of a mixture, by formula."""
    target: Any = stage.problem.target
    if isinstance(target, Gaussian):
        target = Mixture(torch.ones(1), target.mean[None], target.covariance[None])
    if not isinstance(target, Mixture):
        raise BadInput("the score of the noised target has no formula")
    return ExactDenoiser(process, target)


def recorded_score(stage: Stage, process: Diffusion) -> Denoiser:
    """The denoiser of a recorded cloud of exact draws, which leads back to these very draws."""
    if stage.exact is None:
        raise BadInput("exact draws to record are not known")
    return RecordedDenoiser(process, stage.exact)


def learned(stage: Stage) -> Entry:
    """A model that is fitted to exact draws, and draws with the solver that it takes when nothing is said."""
    if stage.exact is None or len(stage.problem.event_shape) > 1:
        raise BadInput("exact draws to learn from are not known")
    began = time.perf_counter()
    model = fit(stage.exact.numpy(), minutes=stage.minutes, seed=stage.seed, held_out=0.1)
    before, began = time.perf_counter() - began, time.perf_counter()
    x = model.sample(stage.n, seed=stage.seed, sampler="sde-dpm-2m", steps=stage.steps)
    seconds = time.perf_counter() - began
    about = f"the reverse SDE with a score learned from {len(stage.exact)} exact draws"
    return Entry("learned score", about, x, stage.steps * stage.n, seconds, before, ess=float(stage.n))


WAYS: dict[str, Way] = {
    "metropolis": chain("metropolis"),
    "hmc": chain("hmc"),
    "nuts": chain("nuts"),
    "tempering": chain("tempering"),
    "smc": smc,
    "exact score": back("exact score", "the reverse SDE with the exact score", exact_score),
    "recorded score": back("recorded score", "the reverse SDE with the score of recorded draws", recorded_score),
    "learned score": learned,
}
"""Every way by its name. One that is learned by stochastic control joins by a line."""
SPIN_WAYS: dict[str, Way] = {name: chain(name) for name in SPINS}
"""Those for coordinates that take two values."""


def compare(
    target: Any,
    *,
    shape: Any = None,
    budget: int = BUDGET,
    n: int = POINTS,
    minutes: float = MINUTES,
    ways: tuple[str, ...] = (),
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Comparison:
    """Draw `n` points from `target` in `budget` evaluations by each of `ways` (default: all), and judge them.

    A way that cannot be taken says why; Ctrl-C hands back those that are done. BadInput for a target that cannot be
    drawn from, and for a way that there is not.
    """
    problem = problem_of(target, shape=shape)
    known = WAYS if problem.values is None else SPIN_WAYS
    for name in ways:
        if name not in known:
            raise BadInput(f"there is no way '{name}' for {problem.name}{near(name, known)}")
    if budget < n or n < 50:
        raise BadInput(
            f"a budget of {budget} evaluations for {n} points is too small; give 50 points and 1 each, or more"
        )
    rng = Rng(seed).child("compare")
    sample = getattr(problem.target, "sample", None)
    truth, other, seen = (
        None if sample is None else sample(count, rng=rng.child(what)).double()
        for what, count in (("truth", n), ("other", n), ("seen", SEEN))
    )
    stage = Stage(problem, budget, n, seed, seen, minutes, rng)
    entries: list[Entry] = []
    stopped = ""
    chosen = ways or tuple(known)
    for k, name in enumerate(chosen):
        if progress:
            progress(k, len(chosen), name)
        try:
            entry = judged(known[name](stage), problem, truth, other, rng)
        except DriftbackError as error:
            entry = Entry(name, "", why=str(error))
        except KeyboardInterrupt:
            if not entries:
                raise
            stopped = name
            break
        entries.append(entry)
    if progress:
        progress(len(chosen), len(chosen), "done")
    shares = problem.truth.shares
    return Comparison(
        problem,
        budget,
        tuple(entries),
        None if truth is None else truth.numpy(),
        None if shares is None else len(shares),
        stopped,
    )
