"""diffusers: UNet2DModel trained as in its example train_unconditional.py, sampled as in DDIMPipeline and DDPMPipeline.

Left out of the example, in its favour: accelerate's wrapper, the data loader, the learning rate's schedule.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from workers.cases import Case
from workers.serve import Step, Training, serve

BLOCKS = {8: 2, 28: 1}
"""Per resolution on the way down; two more in the middle and one more per resolution on the way up are fixed."""


SCHEDULERS: dict[str, tuple[Callable, dict]] = {
    "euler": (DDIMScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpm-2m": (DPMSolverMultistepScheduler, {"solver_order": 2}),
    "dpm-3m": (DPMSolverMultistepScheduler, {"solver_order": 3}),
    "unipc-3": (UniPCMultistepScheduler, {"solver_order": 3}),
    "deis-3": (DEISMultistepScheduler, {"solver_order": 3}),
    "ancestral": (DDPMScheduler, {}),
    "sde-dpm-2m": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
}
"""Its schedulers by the name of ours that does the same."""


class _Own(nn.Module):
    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]


class _Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(x, (t / 1000.0).expand(len(x)))


def _average(network: nn.Module) -> Callable[[], None]:
    ema = EMAModel(network.parameters(), decay=0.999, foreach=True)
    return lambda: ema.step(network.parameters())


class Diffusers:
    """Noise prediction on DDPM's thousand steps."""

    package = "diffusers"
    ema = "own (foreach)"
    layouts = ("contiguous", "channels_last")

    def own(self, case: Case) -> nn.Module:
        widths = case.widths
        unet = UNet2DModel(
            sample_size=case.side,
            in_channels=1,
            out_channels=1,
            layers_per_block=BLOCKS[case.side],
            block_out_channels=widths,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=8,
            add_attention=False,
            dropout=case.dropout,
        )
        return _Own(unet)

    def adapted(self, network: nn.Module) -> nn.Module:
        return _Adapted(network)

    def forward_once(self, network: nn.Module, x: Tensor) -> Tensor:
        return network(x, torch.zeros(len(x)))

    def training(self, network: nn.Module, x0: Tensor, batch: int) -> Step:
        scheduler = DDPMScheduler()

        def loss(x: Tensor) -> Tensor:
            noise = torch.randn_like(x)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x),))
            return F.mse_loss(network(scheduler.add_noise(x, noise, t), t), noise)

        return Training(network, x0, batch, loss, _average)

    def walk(self, network: nn.Module, x: Tensor, steps: int, sampler: str) -> Tensor:
        made, options = SCHEDULERS[sampler]
        scheduler = made(**options)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x, return_dict=False)[0]
        return x


if __name__ == "__main__":
    serve(Diffusers())
