"""The rule that turns gradients into steps, by name: `adamw` (Loshchilov and Hutter 2019, arXiv 1711.05101), or `muon`
for the matrices within a network and AdamW for the rest (`driftback.training.muon`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from driftback.errors import BadInput
from driftback.training.muon import Muon, hidden_matrices
from driftback.training.plan import Plan

BETAS = (0.9, 0.99)


def _groups(network: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Matrices are decayed towards zero, offsets and scales are not."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _adamw(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_groups(network, plan), lr=plan.learning_rate, betas=BETAS, fused=True)


def _muon(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    matrices, vectors = _groups(network, plan)
    hidden = hidden_matrices(network)
    known = {id(p) for p in hidden}
    outer = {**matrices, "params": [p for p in matrices["params"] if id(p) not in known]}
    groups = [outer, vectors, {**matrices, "params": hidden, "orthogonal": True}]
    return Muon([group for group in groups if group["params"]], lr=plan.learning_rate, betas=BETAS, fused=True)


OPTIMISERS: dict[str, Callable[[nn.Module, Plan], torch.optim.Optimizer]] = {"adamw": _adamw, "muon": _muon}


def refuse_unknown(name: str) -> None:
    """Raise BadInput listing the names."""
    if name not in OPTIMISERS:
        raise BadInput(f"there is no optimiser '{name}'; choose one of {', '.join(OPTIMISERS)}")
