"""torchcfm: its U-Net and ConditionalFlowMatcher as in its MNIST example, sampled by Euler's rule.

It ships no sampler; its examples call an ODE solver, here torchdiffeq's `euler`. Its constructor puts attention in the
middle whatever it is told, so that one is replaced by the identity afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models.unet.unet import UNetModelWrapper
from torchdiffeq import odeint

from workers.cases import Case
from workers.serve import Step, Training, foreach_average, serve

BLOCKS = {8: 2, 28: 1}
"""Per resolution on the way down; two more in the middle and one more per resolution on the way up are fixed."""


RULES = {"euler": "euler", "heun": "heun2"}
"""torchdiffeq's rules by the names of ours."""


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
        first = case.widths[0]
        unet = UNetModelWrapper(
            dim=(1, case.side, case.side),
            num_channels=first,
            num_res_blocks=BLOCKS[case.side],
            channel_mult=tuple(width // first for width in case.widths),
            attention_resolutions="1",  # a resolution of one pixel, which is never reached
            num_head_channels=32,
            dropout=case.dropout,
        )
        unet.middle_block[1] = nn.Identity()
        return unet

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

    def walk(self, network: nn.Module, x: Tensor, steps: int, sampler: str) -> Tensor | None:
        if sampler not in RULES:
            return None
        return odeint(network, x, torch.linspace(0, 1, steps + 1), method=RULES[sampler])[-1]


if __name__ == "__main__":
    serve(TorchCFM())
