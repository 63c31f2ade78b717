"""torchcfm: its U-Net and ConditionalFlowMatcher as in its MNIST example, sampled by Euler's rule.

It ships no sampler; its examples call an ODE solver, here torchdiffeq's `euler`. Attention stands in the middle only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models.unet.unet import UNetModelWrapper
from torchdiffeq import odeint

from workers.cases import Case
from workers.serve import Step, Training, foreach_average, serve

SHAPES = {8: (64, (1,)), 28: (32, (1, 2))}


class _Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.network(x, t.expand(len(x)))


class TorchCFM:
    """Independent conditional flow matching."""

    package = "torchcfm"
    ema = "none shipped; torch's foreach"
    layouts = ("contiguous", "channels_last")

    def own(self, case: Case) -> nn.Module:
        channels, multiples = SHAPES[case.side]
        return UNetModelWrapper(
            dim=(1, case.side, case.side),
            num_channels=channels,
            num_res_blocks=case.depth,
            channel_mult=multiples,
            attention_resolutions="1",
            num_head_channels=32,
            dropout=case.dropout,
        )

    def adapted(self, network: nn.Module) -> nn.Module:
        return _Adapted(network)

    def forward_once(self, network: nn.Module, x: Tensor) -> Tensor:
        return network(torch.zeros(len(x)), x)

    def training(self, network: nn.Module, x0: Tensor, batch: int) -> Step:
        matcher = ConditionalFlowMatcher(sigma=0.0)

        def loss(x1: Tensor) -> Tensor:
            t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            return torch.mean((network(t, x_t) - u_t) ** 2)

        return Training(network, x0, batch, loss, foreach_average)

    def walk(self, network: nn.Module, x: Tensor, steps: int, *, noise: bool) -> Tensor | None:
        if noise:
            return None
        return odeint(network, x, torch.linspace(0, 1, steps + 1), method="euler")[-1]


if __name__ == "__main__":
    serve(TorchCFM())
