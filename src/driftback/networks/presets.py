"""Presets: networks of known size, chosen by the shape of an item, that say what they cost before they are trained.

The cost of one item is counted by running the network once under torch's counter of floating-point operations (a
multiply-add counts as two); training costs three times as much (one pass forward, two back).
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from driftback.networks.backbone import Backbone
from driftback.networks.embedding import ClassBias, Conditioning, MakeEncoder
from driftback.networks.mlp import MLP
from driftback.networks.unet import UNet


class NetworkSpec(BaseModel):
    """A network by its numbers: it is written into a model's `config.json` and built again from there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp", "unet"]
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="U-Net: channels per resolution; MLP: one width")
    depth: int = Field(ge=1, description="U-Net: blocks per resolution; MLP: layers")
    patch: int = Field(default=1, ge=1, description="U-Net: pixels folded into channels, per side")
    attention: bool = Field(default=False, description="U-Net: attention at the lowest resolution")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    conditioning: int = Field(default=128, ge=2, description="width of the vector made from noise level and condition")
    bias: bool = Field(default=False, description="a table of outputs per class, filled from the data in closed form")


def build(
    spec: NetworkSpec,
    before: int,
    after: int,
    event: tuple[int, ...],
    classes: int,
    *,
    seed: int = 0,
    encoder: MakeEncoder | None = None,
) -> Backbone:
    """The network for items of shape `event`, (d,) or (c, h, w), with `before` and `after` channels; weights follow
    from `seed`. `encoder` makes what reads conditions that are no classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        conditioning = Conditioning(spec.conditioning, classes, encoder=encoder)
        bias = ClassBias((after, *event[1:]), classes) if spec.bias else None
        return Backbone(_BODIES[spec.kind](spec, before, after, event), conditioning, bias)


def _mlp(spec: NetworkSpec, before: int, after: int, event: tuple[int, ...]) -> nn.Module:
    return MLP(before, after, spec.conditioning, width=spec.widths[0], depth=spec.depth, dropout=spec.dropout)


def _unet(spec: NetworkSpec, before: int, after: int, event: tuple[int, ...]) -> nn.Module:
    return UNet(
        before,
        after,
        (event[1], event[2]),
        spec.conditioning,
        widths=spec.widths,
        blocks=spec.depth,
        patch=spec.patch,
        dropout=spec.dropout,
        attention=spec.attention,
    )


_BODIES = {"mlp": _mlp, "unet": _unet}


FEW_ITEMS = 5_000
MANY_PASSES = 150
"""After so many passes over the data a network starts to know the items by heart."""


def preset(event: tuple[int, ...], items: int, *, passes: float = 0.0, discrete: bool = False) -> NetworkSpec:
    """The preset for `items` items of shape `event`: an MLP for points (d,), a U-Net for pictures (c, h, w).

    `discrete` adds the table of outputs that a histogram fills. Fewer items, and more `passes` over them, mean more
    dropout; larger pictures are folded, so that a laptop's step stays under a second.
    """
    dropout = 0.2 if items < FEW_ITEMS else 0.1 if items < 50_000 else 0.0
    if passes > MANY_PASSES:
        dropout = min(0.4, 2 * dropout)
    if len(event) == 1:
        wide = event[0] > 16
        return NetworkSpec(
            kind="mlp", widths=(384 if wide else 128,), depth=4, dropout=dropout if wide else 0.0, bias=discrete
        )
    side = max(event[1:])
    if side <= 12:
        return NetworkSpec(kind="unet", widths=(48,), depth=2, dropout=dropout, bias=discrete)
    patch = 1 if side <= 16 else 2 ** max(1, math.ceil(math.log2(side / 32)))
    return NetworkSpec(
        kind="unet", widths=(64, 128), depth=2, patch=patch, attention=True, dropout=dropout, bias=discrete
    )


class Cost(BaseModel):
    """What a network costs: its parameters, its operations for one item forward, items per second it should train at,
    and memory in training: the bytes that an item leaves behind for the way back, and those of one copy of the weights.
    """

    model_config = ConfigDict(frozen=True)

    parameters: int
    flops_per_item: int
    items_per_second: float
    bytes_per_item: int
    bytes_of_weights: int


FLOPS_PER_CORE = 2e10
"""Floating-point operations per second that one laptop core is expected to reach in training; a measured rate replaces
it.
"""


def cost(network: nn.Module, before: int, event: tuple[int, ...], *, cores: int) -> Cost:
    """The cost of `network` for one item of shape `event` shown in `before` channels, expected on `cores` cores."""
    device = next(network.parameters()).device
    x: Tensor = torch.zeros(1, before, *event[1:], device=device)
    network = copy.deepcopy(network).requires_grad_(False).eval()  # the counter stumbles over gradients
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, torch.zeros(1, device=device))
    flops = counter.get_total_flops()
    return Cost(
        parameters=sum(p.numel() for p in network.parameters()),
        flops_per_item=flops,
        items_per_second=cores * FLOPS_PER_CORE / max(1, 3 * flops),
        bytes_per_item=_left_behind(network, x),
        bytes_of_weights=sum(p.numel() * p.element_size() for p in network.parameters()),
    )


def _left_behind(network: nn.Module, x: Tensor) -> int:
    """The bytes that the pass of `x` (1, ...) keeps for the gradients: every tensor that autograd saves, once."""
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    network.requires_grad_(True)  # without dropout, which would draw from torch's own stream
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x, torch.zeros(1, device=x.device))
    # The weights are there anyway, and counted as such.
    for p in network.parameters():
        saved.pop(p.untyped_storage()._cdata, None)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
