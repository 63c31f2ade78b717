"""torchcfm on Fashion-MNIST: the class-conditional U-Net and the matcher of its conditional MNIST example.

It ships no sampler; its examples call an ODE solver, here torchdiffeq's `dopri5` at the tolerances of the example,
Euler's rule in 100 steps, and the midpoint rule in 25.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models.unet.unet import UNetModelWrapper
from torchdiffeq import odeint

from workers.fashion import CLASSES, serve

MATCHER = ConditionalFlowMatcher(sigma=0.0)


class _Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.network(x, t.expand(len(x)), y)


class TorchCFM:
    """Independent conditional flow matching."""

    package = "torchcfm"
    rate = 1e-3

    def own(self) -> nn.Module:
        return UNetModelWrapper(
            dim=(1, 28, 28), num_channels=32, num_res_blocks=1, num_classes=CLASSES, class_cond=True
        )

    def adapted(self, network: nn.Module) -> nn.Module:
        return _Adapted(network)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        t, x_t, u_t = MATCHER.sample_location_and_conditional_flow(torch.randn_like(x), x)
        return torch.mean((network(t, x_t, y) - u_t) ** 2)

    def samplers(self) -> dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]:
        def along(network: nn.Module, x: Tensor, y: Tensor, steps: int, **options: object) -> Tensor:
            return odeint(lambda t, x: network(t, x, y), x, torch.linspace(0, 1, steps + 1), **options)[-1]

        return {
            "dopri5": lambda network, x, y: along(network, x, y, 1, method="dopri5", atol=1e-4, rtol=1e-4),
            "euler, 100 steps": lambda network, x, y: along(network, x, y, 100, method="euler"),
            "midpoint, 25 steps": lambda network, x, y: along(network, x, y, 25, method="midpoint"),
        }


if __name__ == "__main__":
    serve(TorchCFM())
