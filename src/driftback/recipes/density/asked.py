"""What a run of chains was asked for: kept in its folder, so that it goes on as it began, with more draws if wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from driftback.arguments import near
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.recipes.density import kept
from driftback.recipes.density.bounded import Bounded
from driftback.recipes.density.methods import METHODS
from driftback.recipes.density.populations import POPULATIONS

if TYPE_CHECKING:
    from driftback.recipes.density.run import Run

SPINS = ("gibbs", "flips", "informed-flips")
"""The methods for coordinates that take two values."""

CHAINS_ALONE = ("warmup", "thin", "chains")


def method_for(problem: Problem, name: str) -> Any:
    """The method `name`. BadInput for a name that there is not, and for one that cannot move points of `problem`."""
    known: Any = METHODS | POPULATIONS
    if name not in known:
        raise BadInput(f"there is no method '{name}'{near(name, known)}")
    if problem.values is not None and name not in SPINS:
        raise BadInput(
            f"the coordinates of {problem.name} take two values, and {name} moves points that may lie anywhere; take "
            f"one of {', '.join(SPINS)}"
        )
    return known[name]


def dtype_of(given: Any) -> torch.dtype:
    """float32 or float64, by name or as torch's own. BadInput for others."""
    known = {"float32": torch.float32, "float64": torch.float64}
    name = str(given).removeprefix("torch.")
    if name not in known:
        raise BadInput(f"there is no dtype {name} for chains; give float64 or float32")
    return known[name]


def idle(method: str, *given: Any) -> tuple[str, ...]:
    """What to say of arguments that were given to a population and are for chains, in the order of `CHAINS_ALONE`."""
    names = [name for name, one in zip(CHAINS_ALONE, given, strict=True) if one is not None and one is not False]
    return (f"{method} leads one population: {', '.join(names)} had no effect",) if names else ()


def folder_of(out: str | Path | None, resume: bool) -> Path | None:
    """The folder of a run. BadInput for the name of a file, and for a resume of nothing."""
    if out is None:
        if resume:
            raise BadInput("resume goes on with a folder; name it with out")
        return None
    folder = Path(out).expanduser()
    if folder.suffix.lower() in (".npy", ".npz", ".csv"):
        raise BadInput(
            f"out is the folder of a run, which can be resumed; write a file with found.save('{folder.name}')"
        )
    return folder


def begin(folder: Path, run: Run, resume: bool) -> None:
    """Keep what is asked in `folder`, or `resume`: see that it was the same, but for the number of draws. BadInput."""
    asked = _asked(run)
    if not resume:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder} holds something already; go on with resume, or give another folder")
        kept.write_asked(folder, asked)
        return
    before = kept.read_asked(folder)
    for name, value in asked.items():
        if name != "draws" and before.get(name) != value:
            old, new = _differing(before.get(name), value)
            raise BadInput(f"{folder} was begun with {name} {old}, not {new}; resume with that, or draw anew")
    saved = kept.read_run(folder)
    if saved is not None and saved.chains.shape[1] > run.draws:
        points = saved.chains.shape[0] * saved.chains.shape[1]
        raise BadInput(f"{folder} holds {points} points already, more than {run.chains * run.draws}; ask for more (-n)")


def lengthened(folder: Path, run: Run) -> None:
    """Keep in `folder` that more draws are asked of a `run` that has been found to go on."""
    if kept.read_asked(folder)["draws"] != run.draws:
        kept.write_asked(folder, _asked(run))


def _asked(run: Run) -> dict[str, Any]:
    return {
        "target": run.problem.name,
        "method": run.method,
        "options": vars(run.options),
        "chains": run.chains,
        "draws": run.draws,
        "warmup": run.warmup,
        "thin": run.thin,
        "seed": run.seed,
        "dtype": str(run.dtype).removeprefix("torch."),
        "scale": run.problem.scale,
        **_bounds(run.problem),
    }


def _bounds(problem: Problem) -> dict[str, Any]:
    """Its bounds, where it has any."""
    target = problem.target
    if not isinstance(target, Bounded):
        return {}
    return {name: str(getattr(target, name).tolist()) for name in ("lower", "upper")}


def _differing(before: Any, now: Any) -> tuple[Any, Any]:
    """Of two sets of options only what differs."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    names = [name for name in now if before.get(name) != now[name]]

    def shown(options: dict[str, Any]) -> str:
        return ", ".join(f"{name}={options.get(name)}" for name in names)

    return shown(before), shown(now)
