"""diffusers on Fashion-MNIST: a class-conditional UNet2DModel trained as in its example train_unconditional.py.

Left out of the example, in its favour: accelerate's wrapper and the data loader. The schedule of betas is the better
of its two for small pictures (squared cosine), and its samplers are DDPM in 250 steps, DDIM in 100, and its
DPM-Solver++ in 50.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from workers.fashion import CLASSES, serve

BETAS = "squaredcos_cap_v2"
TRAINING = DDPMScheduler(beta_schedule=BETAS)


class _Own(nn.Module):
    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.unet(x, t, class_labels=y, return_dict=False)[0]


class _Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.network(x, (t / 1000.0).expand(len(x)), y)


def _walk(made: Callable, options: dict, steps: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    def way(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        scheduler = made(beta_schedule=BETAS, **options)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t, y), t, x, return_dict=False)[0]
        return x

    return way


class Diffusers:
    """Noise prediction on DDPM's thousand steps."""

    package = "diffusers"
    rate = 1e-4

    def own(self) -> nn.Module:
        unet = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            num_class_embeds=CLASSES,
        )
        return _Own(unet)

    def adapted(self, network: nn.Module) -> nn.Module:
        return _Adapted(network)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        t = torch.randint(0, TRAINING.config.num_train_timesteps, (len(x),))
        return F.mse_loss(network(TRAINING.add_noise(x, noise, t), t, y), noise)

    def samplers(self) -> dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]:
        return {
            "DPM-Solver++, 50 steps": _walk(DPMSolverMultistepScheduler, {}, 50),
            "DDIM, 100 steps": _walk(DDIMScheduler, {}, 100),
            "DDPM, 250 steps": _walk(DDPMScheduler, {}, 250),
        }


if __name__ == "__main__":
    serve(Diffusers())
