"""azula: KarrasDenoiser over its modulated U-Net, trained with the denoiser's own loss, sampled by Euler and DDPM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from azula.denoise import KarrasDenoiser
from azula.nn.layers import SineEncoding
from azula.nn.unet import UNet
from azula.noise import VPSchedule
from azula.sample import DDPMSampler, EulerSampler, HeunSampler, xEABSampler, zEABSampler
from torch import Tensor, nn

from workers.cases import Case
from workers.serve import Step, Training, foreach_average, serve

BLOCKS = {8: (4,), 28: (2, 2)}
FEATURES = 96
"""Width of the modulation, a multiple of 32; with it and the blocks the parameters come nearest to driftback's."""


WALKS: dict[str, tuple[Callable, dict]] = {
    "euler": (EulerSampler, {}),
    "heun": (HeunSampler, {}),
    "dpm-2m": (xEABSampler, {"order": 2}),
    "dpm-3m": (xEABSampler, {"order": 3}),
    "deis-3": (zEABSampler, {"order": 3}),
    "ancestral": (DDPMSampler, {}),
}
"""Its samplers by the name of ours that does the same, or nearly."""


class _Own(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.time = nn.Sequential(SineEncoding(FEATURES), nn.Linear(FEATURES, FEATURES), nn.SiLU())
        dropout = case.dropout or None
        self.unet = UNet(
            1,
            1,
            hid_channels=case.widths,
            hid_blocks=BLOCKS[case.side],
            mod_features=FEATURES,
            norm="group",
            groups=8,
            dropout=dropout,
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, self.time(t))


class _Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(x, (t / 4).expand(len(x)))


class Azula:
    """EDM's preconditioning on the variance-preserving schedule."""

    package = "azula"
    ema = "none shipped; torch's foreach"
    layouts = ("contiguous", "channels_last")

    def own(self, case: Case) -> nn.Module:
        return KarrasDenoiser(_Own(case), VPSchedule())

    def adapted(self, network: nn.Module) -> nn.Module:
        return KarrasDenoiser(_Adapted(network), VPSchedule())

    def forward_once(self, network: nn.Module, x: Tensor) -> Tensor:
        return network(x, torch.full((len(x),), 0.5)).mean

    def training(self, network: nn.Module, x0: Tensor, batch: int) -> Step:
        return Training(network, x0, batch, lambda x: network.loss(x, torch.rand(len(x))), foreach_average)

    def walk(self, network: nn.Module, x: Tensor, steps: int, sampler: str) -> Tensor | None:
        if sampler not in WALKS:
            return None
        made, options = WALKS[sampler]
        return made(network, steps=steps, silent=True, **options)(x)


if __name__ == "__main__":
    serve(Azula())
