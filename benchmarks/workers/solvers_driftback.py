"""driftback's samplers, for benchmarks/solvers.py. A new one joins by a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.recipes.way_back import Asked
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.fitted import Fitted, fitted
from driftback.samplers.frame import Sampler, last
from driftback.samplers.grids import log_snr
from driftback.samplers.heun import Heun, euler
from driftback.samplers.multistep import Multistep
from driftback.samplers.published import SAMPLERS
from driftback.samplers.reference import Reference, reference
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from workers.mixtures import HIGH, SPREAD, Counted, Problem
from workers.network import Pictures
from workers.scan import Solver, Walk
from workers.solvers import Bench, serve


@dataclass(frozen=True, eq=False)
class _Given(Denoiser):
    """A denoiser of sigma as one of t."""

    process: Diffusion
    denoise: Counted

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.denoise(x, self.process.sigma(t))


def walk(sampler: Callable[[Denoiser], Sampler]) -> Walk:
    """A sampler along given noise levels on EDM's clock."""

    def along(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
        process = Diffusion(EDM(HIGH), tuple(x.shape[1:]), SPREAD)
        return last(sampler(_Given(process, denoise))(x, process.time_of(sigmas), rng=0)).x

    return along


WAYS = {2: 1024, 10: 512, 100: 128}
"""So many ways of each mixture, by dimension, are followed to fit a solver to: others than those that are judged."""


@cache
def _ways(problem: Problem, seed: int, low: float) -> tuple[Denoiser, Reference]:
    mixture = Mixture(
        problem.weights[seed],
        problem.means[seed],
        problem.axes[seed] @ torch.diag_embed(problem.widths[seed] ** 2) @ problem.axes[seed].mT,
    )
    denoiser = ExactDenoiser(Diffusion(EDM(HIGH), (problem.dimension,), SPREAD), mixture)
    start = mixture.noised(1.0, HIGH).sample(WAYS[problem.dimension], rng=12_345)
    return denoiser, reference(denoiser, start, log_snr(denoiser.process, 257, low=low, high=HIGH), smooth=True)


@cache
def _fitted(problem: Problem, seed: int, low: float, steps: int) -> Fitted:
    return fitted(*_ways(problem, seed, low), steps)


@dataclass(frozen=True, eq=False)
class _InItsUnits(Denoiser):
    """A counted network as a denoiser of its own time, of pictures in its own units."""

    process: Diffusion
    pictures: Pictures
    denoise: Counted

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        unit = self.pictures.unit
        return unit * self.denoise(x / unit, self.process.sigma(t) / unit)


def _walk_network(pictures: Pictures, denoise: Counted, x: Tensor, steps: int) -> Tensor:
    """What `driftback sample --evaluations STEPS` does, from the noise `x`."""
    choice = pictures.model.ways.choice(Asked(evaluations=steps))
    assert choice is not None
    denoiser = _InItsUnits(pictures.model.denoiser.process, pictures, denoise)
    return last(choice.sampler(denoiser)(x * pictures.unit)).x / pictures.unit


def walk_fitted(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
    """By the solver that is fitted to the model; `sigmas` gives the number of steps, and for mixtures the lowest noise.

    Each mixture has one of its own; a network's is what `sample` would take.
    """
    steps, low = len(sigmas) - 1, float(sigmas[-2])
    if isinstance(denoise.problem, Pictures):
        return _walk_network(denoise.problem, denoise, x, steps)
    seeds = denoise.problem.seeds
    # The fit depends on the mixtures alone, which are the same for every number of points.
    problem = Problem(denoise.problem.dimension, seeds, 1)
    frames = [last(_fitted(problem, seed, low, steps)(part)) for seed, part in enumerate(x.chunk(seeds))]
    denoise.evaluations += max(frame.evaluations for frame in frames)
    return torch.cat([frame.x for frame in frames])


def named(name: str, ends: tuple[str, ...] = ("stop", "denoised", "zero")) -> Solver:
    """A sampler of `driftback.samplers.SAMPLERS`."""
    return Solver(name, walk(SAMPLERS[name].make), cost=SAMPLERS[name].evaluations, ends=ends)


SOLVERS = [
    Solver("fitted", walk_fitted, ends=("zero",), warps=("log",), lows=(0.005,)),
    *(named(f"adams-{order}") for order in (3, 4, 5)),
    named("adams-moulton-4"),
    Solver("adams-moulton-5", walk(lambda d: Multistep(d, 4, correct=True)), ends=("stop", "denoised", "zero")),
    *(named(name, ("stop", "denoised")) for name in ("dpm-2m", "dpm-3m", "unipc-3", "deis-3", "lms", "rk4")),
    *(Solver(name, walk(make), cost=cost) for name, make, cost in (("euler", euler, 1), ("Heun", Heun, 2))),
]
NOISY = [
    Solver("Ancestral", walk(Ancestral), ends=("zero",)),
    *(
        Solver(f"Heun, churn {churn}", walk(lambda d, c=churn: Heun(d, churn=c)), cost=2, ends=("zero",))
        for churn in (10, 40)
    ),
    *(
        Solver(
            f"Multistep {order}, noise {noise}, mended",
            walk(lambda d, o=order, n=noise: Multistep(d, o, noise=n, correct=True)),
            ends=("zero",),
        )
        for order in (2, 3)
        for noise in (0.5, 1.0)
    ),
    *(Solver(name, walk(SAMPLERS[name].make), ends=("zero",)) for name in ("sde-dpm-2m", "sde-adams-3")),
    *(
        Solver(name, walk(SAMPLERS[name].make), cost=cost, ends=("zero",))
        for name, cost in (("seeds-2", 2), ("seeds-3", 3))
    ),
]

if __name__ == "__main__":
    serve(Bench("driftback", SOLVERS, NOISY))
