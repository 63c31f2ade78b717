"""Networks by their numbers, built from them, that say what they cost before they are trained.

The cost of one item is counted by running the network once under torch's counter of floating-point operations (a
multiply-add counts as two); training costs three times as much (one pass forward, two back).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from driftback.errors import BadInput
from driftback.networks.backbone import Backbone
from driftback.networks.closed_form import ClosedForm, ClosedFormSpec
from driftback.networks.dit import DiT
from driftback.networks.embedding import ClassBias, Conditioning, MakeEncoder
from driftback.networks.memory import Memory, MemorySpec, Nothing
from driftback.networks.mlp import MLP
from driftback.networks.unet import UNet


class NetworkSpec(BaseModel):
    """A network by its numbers: it is written into a model's `config.json` and built again from there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp", "unet", "dit", "none"]
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="U-Net: channels per resolution; else one width")
    depth: int = Field(ge=1, description="U-Net: blocks per resolution; MLP: layers; DiT: blocks")
    patch: int = Field(default=1, ge=1, description="U-Net, DiT: pixels folded into channels, per side")
    attention: bool = Field(default=False, description="U-Net: attention at the lowest resolution")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    conditioning: int = Field(default=128, ge=2, description="width of the vector made from noise level and condition")
    bias: bool = Field(default=False, description="a table of outputs per class, filled from the data in closed form")

    @model_validator(mode="after")
    def _norms_have_whole_groups(self) -> NetworkSpec:
        odd = [width for width in self.widths if width % 8 and width > 8]
        if self.kind == "unet" and odd:
            raise BadInput(f"a U-Net's width is a multiple of 8 from 8 on, for its norms have 8 groups, not {odd[0]}")
        return self


def build(
    spec: NetworkSpec,
    before: int,
    after: int,
    event: tuple[int, ...],
    classes: int,
    *,
    seed: int = 0,
    closed_form: ClosedFormSpec | MemorySpec | None = None,
    spread: float = 1.0,
    augment: int = 0,
    encoder: MakeEncoder | None = None,
) -> Backbone:
    """The network for items of shape `event`, (d,) or (c, h, w), with `before` and `after` channels; weights follow
    from `seed`. With a `closed_form`, for data of standard deviation `spread`, it corrects a mixture's posterior mean,
    or is shown it. It can be told by `augment` numbers how an item was augmented; `encoder` makes what reads conditions
    that are no classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        conditioning = Conditioning(spec.conditioning, classes, encoder=encoder, augment=augment)
        bias = ClassBias((after, *event[1:]), classes) if spec.bias else None
        known = None if closed_form is None else _known(closed_form, event, spread)
        body = _BODIES[spec.kind](spec, before + (known.channels * event[0] if known else 0), after, event)
        return Backbone(body, conditioning, bias, known)


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


def _dit(spec: NetworkSpec, before: int, after: int, event: tuple[int, ...]) -> nn.Module:
    return DiT(
        before,
        after,
        (event[1], event[2]),
        spec.conditioning,
        width=spec.widths[0],
        depth=spec.depth,
        patch=spec.patch,
        dropout=spec.dropout,
    )


def _none(spec: NetworkSpec, before: int, after: int, event: tuple[int, ...]) -> nn.Module:
    return Nothing(after)


def _known(spec: ClosedFormSpec | MemorySpec, event: tuple[int, ...], spread: float) -> ClosedForm | Memory:
    return Memory(spec, event, spread) if isinstance(spec, MemorySpec) else ClosedForm(spec, event, spread)


_BODIES = {"mlp": _mlp, "unet": _unet, "dit": _dit, "none": _none}


FEW_ITEMS = 5_000
MANY_PASSES = 150
"""After so many passes over the data a network starts to know the items by heart."""
WIDE = 16
"""Points of at most so many coordinates get a network too small to know its items by heart."""


def dropout_of(event: tuple[int, ...], items: int, passes: float = 0.0) -> float:
    """The dropout for `passes` over `items` items of shape `event`: the fewer items and the more passes, the more."""
    if len(event) == 1 and event[0] <= WIDE:
        return 0.0
    dropout = 0.2 if items < FEW_ITEMS else 0.1 if items < 50_000 else 0.0
    return min(0.4, 2 * dropout) if passes > MANY_PASSES else dropout


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


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *more: object, **options: object) -> int:
    """The operations of attention by its shapes (n, heads, places, width): q k^T, and the weights times v."""
    n, heads, rows, width = query
    return 2 * n * heads * rows * key[2] * (width + value[3])


COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""What torch's counter passes over: it knows the attention of GPUs only."""


def cost(network: nn.Module, before: int, event: tuple[int, ...], *, cores: int) -> Cost:
    """The cost of `network` for one item of shape `event` shown in `before` channels, expected on `cores` cores."""
    device = next(network.parameters()).device
    x: Tensor = torch.zeros(1, before, *event[1:], device=device)
    network = copy.deepcopy(network).requires_grad_(False).eval()  # the counter stumbles over gradients
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
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
