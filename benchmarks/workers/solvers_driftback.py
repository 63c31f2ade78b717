"""driftback's samplers, for benchmarks/solvers.py. A new one joins by a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.frame import Sampler, last
from driftback.samplers.heun import Heun, euler
from driftback.scores.denoiser import Denoiser
from workers.mixtures import HIGH, SPREAD, Counted
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


SOLVERS = [
    Solver("euler", walk(euler)),
    Solver("Heun", walk(Heun), cost=2),
]
NOISY = [
    Solver("Ancestral", walk(Ancestral), ends=("zero",)),
    *(
        Solver(f"Heun, churn {churn}", walk(lambda d, c=churn: Heun(d, churn=c)), cost=2, ends=("zero",))
        for churn in (10, 40)
    ),
]

if __name__ == "__main__":
    serve(Bench("driftback", SOLVERS, NOISY))
