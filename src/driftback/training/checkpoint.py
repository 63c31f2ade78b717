"""Checkpoints: one safetensors file that holds all that a resume needs, replaced at once or not at all.

It holds the weights being trained, their average, the optimiser's moments, and, in its header, the step, the cut of the
batch and the measurements. There is no random state and no position in the data to keep: both follow from the step (see
`driftback.training.loop`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from driftback.errors import DamagedModel
from driftback.files import read_tensors, write_tensors
from driftback.training.loop import State


def save(state: State, path: Path, *, seconds: float = 0.0) -> None:
    """Write `state`, and the `seconds` spent so far, to `path`, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for part, denoiser in (("weights", state.denoiser), ("average", state.average)):
        tensors |= {f"{part}/{name}": value for name, value in denoiser.network.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    write_tensors(
        path, tensors, {"step": state.step, "parts": state.parts, "history": state.history, "seconds": seconds}
    )


def restore(state: State, path: Path) -> float:
    """Bring `state`, fresh from `State.start`, to what was saved at `path`; returns the seconds spent. Raises
    DamagedModel.
    """
    tensors, about = read_tensors(path)
    moments: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        if part == "optimiser":
            index, moment = rest.split("/")
            moments.setdefault(int(index), {})[moment] = tensor
        else:
            weights[part][rest] = tensor
    try:
        state.denoiser.network.load_state_dict(weights["weights"])
        state.average.network.load_state_dict(weights["average"])
        optimiser = state.optimiser.state_dict()
        # A fused optimiser walks through memory: moments must lie as their weights do (channels last), not as files do.
        parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
        for number, found in moments.items():
            like = parameters[number]
            for what, value in found.items():
                found[what] = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.optimiser.load_state_dict({"state": moments, "param_groups": optimiser["param_groups"]})
        state.step, state.parts, state.history = about["step"], about["parts"], about["history"]
        return float(about["seconds"])
    except (RuntimeError, LookupError, ValueError) as error:
        message = f"{path} does not belong to this model; start again without --resume"
        raise DamagedModel(message) from error
