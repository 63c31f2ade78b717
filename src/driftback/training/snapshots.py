"""Snapshots of the tracked averages, in half precision, and the average of any length that is made of them afterwards.

A snapshot is a file of two averages, four bytes for each weight; few are kept, and none where they would take more
than `MOST_BYTES` together. They follow from the step alone, so that a resume writes the same ones again (Karras et
al. 2024, arXiv 2312.02696, section 3.2, which also keeps 16 bits).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from driftback.errors import BadInput
from driftback.files import read_tensors, write_tensors
from driftback.training.posthoc import TRACKED, WORST, PowerAverages, Profile, combination, exponent_of

FOLDER = Path("training") / "snapshots"
"""Where they are in a model's folder."""
COUNT, FEWEST = 16, 8
"""How many are kept, and the fewest that are worth it."""
MOST_BYTES = 1 << 28
"""256 MiB."""


def affordable(network: nn.Module) -> int:
    """How many snapshots of `network` are kept: `COUNT`, or fewer within `MOST_BYTES`; 0 below `FEWEST`."""
    each = 2 * len(TRACKED) * sum(p.numel() for p in network.parameters())
    count = min(COUNT, MOST_BYTES // max(1, each))
    return count if count >= FEWEST else 0


def write(folder: Path, averages: PowerAverages, step: int) -> None:
    """Write the snapshot of step `step` to the model's `folder`, whole or not at all."""
    halves = {name: value.half() for name, value in averages.tensors().items()}
    write_tensors(folder / FOLDER / f"{step:07d}.safetensors", halves, {"step": step})


def averaged(folder: Path, length: float) -> tuple[dict[str, Tensor], int]:
    """The weights by name, float32, averaged over `length` = sigma_rel of the training up to the last snapshot in the
    model's `folder`, and the step of that.

    BadInput where there are no snapshots, or too few for this length.
    """
    wanted_exponent = exponent_of(length)
    paths = sorted((folder / FOLDER).glob("[0-9]*.safetensors"))
    if not paths:
        raise BadInput(
            f"{folder} has no snapshots to make an average of another length of; leave --ema out, or fit again with "
            "--snapshots"
        )
    steps = [int(path.stem) for path in paths]
    kept = [Profile(exponent_of(tracked), step) for step in steps for tracked in TRACKED]
    factors, missed = combination(kept, Profile(wanted_exponent, steps[-1]))
    if missed > WORST:
        raise BadInput(
            f"the {len(paths)} snapshots in {folder} are too few for an average of the length {length:g}: give one "
            f"nearer to {TRACKED[0]:g} .. {TRACKED[-1]:g}"
        )
    total: dict[str, Tensor] = {}
    for number, path in enumerate(paths):
        tensors, _ = read_tensors(path)
        for tracked, factor in zip(TRACKED, factors[2 * number : 2 * number + 2], strict=True):
            for name, value in tensors.items():
                length_name, rest = name.split("/", 1)
                if length_name == f"{tracked:g}":
                    part = float(factor) * value.double()
                    total[rest] = total[rest] + part if rest in total else part
    return {name: value.to(torch.float32) for name, value in total.items()}, steps[-1]
