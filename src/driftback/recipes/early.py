"""The early snapshot: the averaged weights after an eighth of the training, which autoguidance pushes away from.

Karras et al. 2024 (arXiv 2406.02507) guide by networks that have seen far less, of trainings far longer than what is
planned here; before an eighth the average still holds much of its start.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from driftback.errors import DamagedModel
from driftback.files import read_tensors, write_tensors
from driftback.scores.learned import LearnedDenoiser

EARLY = Path("training") / "early.safetensors"
"""Where a training keeps it."""


def early_step(steps: int) -> int:
    """After how many of `steps` it is taken."""
    return max(1, steps // 8)


def snapshot(average: LearnedDenoiser, folder: Path | None, step: int) -> LearnedDenoiser:
    """`average` as it is after `step`, also written to `folder`, if there is one, whole or not at all."""
    if folder is not None:
        write_early(average, folder, step)
    return replace(average, network=copy.deepcopy(average.network).eval())


def write_early(denoiser: LearnedDenoiser | None, folder: Path, step: int | None = None) -> None:
    """Keep `denoiser`, if there is one, in `folder` as the snapshot of a model there, whole or not at all."""
    if denoiser is not None:
        write_tensors(folder / EARLY, denoiser.network.state_dict(), {"step": step})


def read_early(folder: Path | None, denoiser: LearnedDenoiser) -> LearnedDenoiser | None:
    """The snapshot in `folder` as a denoiser like `denoiser`; None where there is none. Raises DamagedModel."""
    if folder is None or not (folder / EARLY).is_file():
        return None
    weights, _ = read_tensors(folder / EARLY)
    network = copy.deepcopy(denoiser.network).requires_grad_(False).eval()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DamagedModel(f"{folder / EARLY} does not fit the model; fit it again") from error
    return replace(denoiser, network=network)
