"""A long run in a folder: what was asked, where the chains are, and the draws so far; so that a killed one goes on.

What chain i does in move k hangs on its place and on noise that belongs to i and k, so a run that goes on from a saved
place gives the same draws as one that was never stopped.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from driftback.errors import BadInput, DamagedModel
from driftback.files import PART, read_tensors, write_tensors, write_text, writing
from driftback.samplers.markov import Dense, Diagonal, Metric

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
    step: Tensor | None
    metric: Metric | None
    counts: dict[str, float]


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
    if asked.get("version") != VERSION:
        raise DamagedModel(f"{path} is of version {asked.get('version')}, this driftback reads {VERSION}; begin again")
    return asked


def write_run(folder: Path, saved: Saved) -> None:
    """Keep `saved`, whole or not at all."""
    tensors = {"chains": saved.chains, "x": saved.x} | {f"stats.{name}": one for name, one in saved.stats.items()}
    if saved.step is not None:
        tensors["step"] = saved.step
    kind = None
    if isinstance(saved.metric, Diagonal):
        kind, tensors["metric"] = "diagonal", saved.metric.scale
    elif isinstance(saved.metric, Dense):
        kind, tensors["metric"] = "dense", saved.metric.factor
    write_tensors(folder / DRAWS, tensors, {"metric": kind, **saved.counts})


def read_run(folder: Path) -> Saved | None:
    """What was kept in `folder`; None where the run was stopped before its first draw."""
    if not (folder / DRAWS).is_file():
        return None
    tensors, about = read_tensors(folder / DRAWS)
    kind = about.pop("metric")
    metric: Metric | None = None
    if kind is not None:
        metric = Diagonal(tensors["metric"]) if kind == "diagonal" else Dense(tensors["metric"])
    stats = {name.removeprefix("stats."): one for name, one in tensors.items() if name.startswith("stats.")}
    return Saved(tensors["chains"], stats, tensors["x"], tensors.get("step"), metric, about)


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

    BadInput for points that do not suit it (.csv takes flat ones) and a place that is taken.
    """
    suffix = out.suffix.lower()
    if out.exists() and suffix and not overwrite:
        raise BadInput(f"{out} exists already; choose another name, or allow overwriting")
    if suffix == ".csv":
        flat = draws.x.reshape(len(draws.x), -1)
        own = draws.problem.names if len(draws.problem.names) == flat.shape[1] else ()
        with writing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(own or [f"x{i}" for i in range(flat.shape[1])])
            rows.writerows(flat.tolist())
    elif suffix == ".npz":
        arrays: dict[str, Any] = {"x": draws.x, "chains": draws.chains.cpu().numpy()}
        if draws.log_weights is not None:
            arrays["log_weights"] = draws.log_weights.cpu().numpy()
        arrays |= {name: one.cpu().numpy() for name, one in draws.stats.items()}
        with writing(out) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    elif suffix == ".npy":
        with writing(out) as temporary, temporary.open("wb") as file:
            np.save(file, draws.x)
    else:
        with writing(out / POINTS) as temporary, temporary.open("wb") as file:
            np.save(file, draws.x)
        write_text(out / TOLD, json.dumps(draws.as_json(), indent=2) + "\n")
