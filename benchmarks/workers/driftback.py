"""driftback: its own training loop, and its samplers on EDM's grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.published import SAMPLERS
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio
from workers.cases import Case
from workers.serve import Step, serve


class Driftback:
    """The `edm` method."""

    package = "driftback"
    ema = "own"
    layouts = ("channels_last",)

    def own(self, case: Case) -> nn.Module:
        return case.network()

    def adapted(self, network: nn.Module) -> nn.Module:
        return network

    def forward_once(self, network: nn.Module, x: Tensor) -> Tensor:
        return network(x, torch.zeros(len(x)))

    def _denoiser(self, network: nn.Module, event: tuple[int, ...]) -> LearnedDenoiser:
        return LearnedDenoiser(Diffusion(EDM(80.0), event, 0.5), network, predict_edm(0.5))

    def training(self, network: nn.Module, x0: Tensor, batch: int) -> Step:
        plan = Plan(steps=1_000_000, batch=batch)
        state = State.start(self._denoiser(network, tuple(x0.shape[1:])), plan)
        steps = train(state, x0, None, LogNormalRatio(), plan)
        return lambda: next(steps).loss

    def walk(self, network: nn.Module, x: Tensor, steps: int, sampler: str) -> Tensor:
        denoiser = self._denoiser(network, tuple(x.shape[1:]))
        times = karras(denoiser.process, steps)
        make = Ancestral if sampler == "ancestral" else SAMPLERS[sampler].make
        return last(make(denoiser)(80.0 * x, times, rng=0)).x


if __name__ == "__main__":
    serve(Driftback())
