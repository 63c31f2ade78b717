"""azula's samplers, for benchmarks/solvers.py.

All of them depend on the noise levels through sigma / alpha alone, so one schedule with alpha = 1 and any grid stands
for every schedule of the library.
"""

from __future__ import annotations

import azula.sample
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from torch import Tensor

from workers.mixtures import Counted
from workers.scan import Solver, Walk
from workers.solvers import Bench, serve


class _Grid(Schedule):
    """The noise levels themselves, by the index that a time of k / steps stands for."""

    def __init__(self, sigmas: Tensor) -> None:
        self.rising = sigmas.flip(0)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.rising[(t * (len(self.rising) - 1)).round().long()]
        return torch.ones_like(sigma), sigma


class _Given(Denoiser):
    def __init__(self, denoise: Counted, schedule: Schedule) -> None:
        super().__init__()
        self.denoise, self.schedule = denoise, schedule

    def forward(self, x_t: Tensor, t: Tensor, **_: object) -> DiracPosterior:
        return DiracPosterior(mean=self.denoise(x_t, self.schedule(t)[1]))


def walk(name: str, **options: object) -> Walk:
    """The sampler `<name>Sampler` along given noise levels."""
    sampler = getattr(azula.sample, f"{name}Sampler")

    def along(denoise: Counted, x: Tensor, sigmas: Tensor) -> Tensor:
        given = _Given(denoise, _Grid(sigmas))
        return sampler(given, steps=len(sigmas) - 1, silent=True, dtype=torch.float64, **options)(x)

    return along


def _multistep(name: str, *ends: str) -> list[Solver]:
    return [
        Solver(f"{name}, order {order}", walk(name, order=order), ends=("stop", "denoised", *ends))
        for order in (2, 3, 4)
    ]


SOLVERS = [
    Solver("Euler", walk("Euler")),
    Solver("Heun", walk("Heun"), cost=2),
    *_multistep("zAB", "zero"),
    *_multistep("vAB", "zero"),
    *_multistep("zEAB"),
    *_multistep("xEAB"),
    Solver("REAB, order 2", walk("REAB", order=2)),
]
NOISY = [
    Solver("DDPM", walk("DDPM")),
    Solver("DDIM, eta 0.5", walk("DDIM", eta=0.5)),
    Solver("Ito", walk("Ito")),
    Solver("Ito, eta 0.5", walk("Ito", eta=0.5)),
    *(Solver(f"PC, delta {delta}", walk("PC", delta=delta), cost=2) for delta in (0.01, 0.1)),
]

if __name__ == "__main__":
    serve(Bench("azula", SOLVERS, NOISY))
