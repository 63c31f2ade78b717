"""A long run in a folder: what was asked, where the chains are, and the draws so far; so that a killed one goes on.

What chain i does in move k hangs on its place and on noise that belongs to i and k, so a run that goes on from a saved
place gives the same draws as one that was never stopped.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput, DamagedModel
from driftback.files import PART, read_tensors, write_tensors, write_text, writing
from driftback.samplers.markov import Dense, Diagonal

if TYPE_CHECKING:
    from driftback.recipes.density.draws import Draws

CONFIG, DRAWS, POINTS, TOLD, VERSION = "draw.json", "draws.safetensors", "draws.npy", "diagnostics.json", 1
OURS = (CONFIG, DRAWS, POINTS, TOLD)


@dataclass(frozen=True, eq=False)
class Saved:
    """The first `chains` (chains, draws, *event) of a run, where it is now, and how it was tuned."""

    chains: Tensor
    stats: dict[str, Tensor]
    x: Tensor
    state: dict[str, Tensor]
    """All that the state of the chains holds, by the path to it: 'x', 'carried', 'rungs.x' ..."""
    kernel: dict[str, Tensor]
    """What the warm-up found."""
    counts: dict[str, float]


TUNED = ("step", "length", "betas", "steps", "scales")
"""What a warm-up may find, beside the metric."""


def tensors(thing: Any, before: str = "") -> dict[str, Tensor]:
    """The tensors in a dataclass and in those that it holds."""
    found: dict[str, Tensor] = {}
    for name, value in vars(thing).items():
        if isinstance(value, Tensor):
            found[before + name] = value
        elif is_dataclass(value):
            found |= tensors(value, f"{before}{name}.")
    return found


def filled(thing: Any, values: dict[str, Tensor], before: str = "") -> Any:
    """The dataclass `thing` with the tensors that `tensors` found in another one of its kind."""
    changes: dict[str, Any] = {}
    for field in fields(thing):
        own = getattr(thing, field.name)
        if before + field.name in values:
            changes[field.name] = values[before + field.name]
        elif is_dataclass(own):
            changes[field.name] = filled(own, values, f"{before}{field.name}.")
    return replace(thing, **changes)


def tunables(kernel: Any) -> dict[str, Tensor]:
    """What a warm-up found, as tensors."""
    found: dict[str, Tensor] = {}
    if not getattr(kernel, "stepping", True):
        return found
    for name in TUNED:
        value = getattr(kernel, name, None)
        if isinstance(value, Tensor | float):
            found[name] = torch.as_tensor(value, dtype=torch.float64)
    metric = getattr(kernel, "metric", None)
    if isinstance(metric, Diagonal):
        found["diagonal"] = metric.scale
    elif isinstance(metric, Dense):
        found["dense"] = metric.factor
    return found


def retuned(kernel: Any, found: dict[str, Tensor]) -> Any:
    """The kernel as its warm-up left it."""
    metric = Diagonal(found["diagonal"]) if "diagonal" in found else Dense(found["dense"]) if "dense" in found else None
    if "step" in found and hasattr(kernel, "tuned"):
        kernel = kernel.tuned(found["step"], *(() if metric is None else (metric,)))
    own = {field.name for field in fields(kernel)} - {"step", "metric"}
    changes = {name: one for name, one in found.items() if name in own}
    return replace(kernel, **{name: float(one) if one.ndim == 0 else one for name, one in changes.items()})


def write_asked(folder: Path, asked: dict[str, Any]) -> None:
    """What is to be drawn, so that a resume does the same."""
    write_text(folder / CONFIG, json.dumps({"version": VERSION} | asked, indent=2) + "\n")


def read_asked(folder: Path) -> dict[str, Any]:
    """What was to be drawn in `folder`. BadInput where there is no such run."""
    path = folder / CONFIG
    if not path.is_file():
        raise BadInput(f"{folder} holds no run of draw; begin one without --resume")
    try:
        asked = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedModel(f"{path} is damaged ({error}); begin the run again with --force") from error
    if not isinstance(asked, dict):
        raise DamagedModel(f"{path} is damaged (it holds no object); begin the run again with --force")
    if asked.get("version") != VERSION:
        raise DamagedModel(f"{path} is of version {asked.get('version')}, this driftback reads {VERSION}; begin again")
    return asked


def write_run(folder: Path, saved: Saved) -> None:
    """Keep `saved`, whole or not at all."""
    parts = {"stats": saved.stats, "state": saved.state, "kernel": saved.kernel}
    found = {"chains": saved.chains, "x": saved.x}
    found |= {f"{part}/{name}": one.clone() for part, named in parts.items() for name, one in named.items()}
    write_tensors(folder / DRAWS, found, saved.counts)


def read_run(folder: Path) -> Saved | None:
    """What was kept in `folder`; None where the run was stopped before its first draw."""
    if not (folder / DRAWS).is_file():
        return None
    try:
        found, about = read_tensors(folder / DRAWS)
    except DamagedModel as error:
        raise DamagedModel(f"{str(error).partition(';')[0]}; begin the run again with --force") from error
    parts = [
        {name.removeprefix(f"{part}/"): one for name, one in found.items() if name.startswith(f"{part}/")}
        for part in ("stats", "state", "kernel")
    ]
    return Saved(found["chains"], parts[0], found["x"], parts[1], parts[2], about)


def clear(folder: Path) -> None:
    """Delete what driftback wrote in `folder`, if anything. BadInput where something else lies there."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; give --out a folder, or a name that ends in .npy, .npz or .csv")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in OURS and not PART.fullmatch(p.name))
    if foreign:
        raise BadInput(f"{folder} holds {foreign[0]}, which is no part of a run of draw; give another --out")
    for path in sorted(folder.iterdir(), key=lambda path: path.name != CONFIG):
        path.unlink()


def write_draws(draws: Draws, out: Path, *, overwrite: bool = False) -> None:
    """The points to `out` by its suffix: .npy and .csv (points), .npz (with weights and statistics), or a folder.

    Points of unequal weights are drawn again by these for .npy and .csv, which have no room for weights.
    BadInput for points that do not suit it (.csv takes flat ones) and a place that is taken.
    """
    suffix = out.suffix.lower()
    if out.exists() and suffix and not overwrite:
        raise BadInput(f"{out} exists already; choose another name, or allow overwriting")
    points = draws.resampled(len(draws.x)) if draws.weighted else draws.x
    if suffix == ".csv":
        flat = points.reshape(len(points), -1)
        own = draws.problem.names if len(draws.problem.names) == flat.shape[1] else ()
        with writing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(own or [f"x{i}" for i in range(flat.shape[1])])
            rows.writerows(flat.tolist())
    elif suffix == ".npz":
        arrays: dict[str, Any] = {"x": draws.x, "chains": draws.chains.cpu().numpy()}
        if draws.log_weights is not None:
            arrays["log_weights"] = draws.log_weights.cpu().numpy()
        if draws.families is not None:
            arrays["families"] = draws.families.cpu().numpy()
        arrays |= {name: one.cpu().numpy() for name, one in draws.stats.items()}
        with writing(out) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    elif suffix == ".npy":
        with writing(out) as temporary, temporary.open("wb") as file:
            np.save(file, points)
    else:
        with writing(out / POINTS) as temporary, temporary.open("wb") as file:
            np.save(file, draws.x)
        write_text(out / TOLD, json.dumps(draws.as_json(), indent=2) + "\n")
