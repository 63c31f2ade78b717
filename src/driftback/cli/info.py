"""`driftback info`: what a model is, in plain words, and whether its files are whole."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftback.cli import options
from driftback.cli.output import emit, number, say, show, table

if TYPE_CHECKING:
    from driftback.recipes.health_told import Health

EXAMPLES = ("driftback info runs/digits", "driftback info runs/digits --health", "driftback info runs/digits --json")
Unused = Annotated[int, typer.Option("--seed", min=0, help="As for every command; there is nothing random here.")]
FILES = ("weights.safetensors", "training/state.safetensors", "training/best.safetensors", "training/early.safetensors")


def info(
    run: options.Run,
    health: Annotated[bool, typer.Option("--health", help="How the training went, by noise level.")] = False,
    json: options.Json = False,
    seed: Unused = 0,
) -> None:
    """Say what a model was made from and how, how far it is, and whether its files are whole.

    Leaves with status 3 if a file is damaged or missing.
    """
    from driftback.recipes.assembly import signal_warning
    from driftback.recipes.config import read
    from driftback.recipes.describe import describe

    facts, told = describe(run), None
    if health:
        from driftback.recipes.health_told import health as healthy

        told = healthy(run)
    files = {name: _state(run / name) for name in FILES}
    whole = files["weights.safetensors"] == "ok" and not any(state.startswith("damaged") for state in files.values())
    signal = signal_warning(read(run))
    if signal is not None:
        say(f"warning: {signal}")
    if json:
        emit(facts | {"files": files, "whole": whole} | ({} if told is None else {"health": told.as_json()}))
    elif told is not None:
        _show(told, run)
    else:
        for name, value in (facts | {f"file {file}": state for file, state in files.items()}).items():
            show(f"{name.replace('_', ' ') + ':':<34}{_words(value)}")
    if not whole:
        raise typer.Exit(3)


def _show(told: Health, run: Path) -> None:
    from driftback.recipes.health_told import bars

    show(f"verdict: {told.verdict}")
    for name, course in (("training items", told.train), ("held-out items", told.held_out)):
        if course:
            show(
                f"loss on {name}: {bars(course)}  {number(course[0])} at step {told.steps[0]}, {number(course[-1])} now"
            )
    if told.best_step is not None:
        best = f"driftback sample {shlex.quote(str(run))} --checkpoint best"
        show(f"best on held-out items: step {told.best_step} ({best})")
    if told.levels:
        at_best = "held-out" if told.best_step is None else f"held-out at step {told.best_step}"
        rows = [tuple(map(number, (at.noise, at.train, at.held_out, at.held_out_at_best))) for at in told.levels]
        table(("noise level", "training", "held-out", at_best), rows, right=(0, 1, 2, 3))


def _state(path: Path) -> str:
    from driftback.errors import DamagedModel
    from driftback.files import read_tensors

    if not path.is_file():
        return "missing"
    try:
        read_tensors(path)
    except DamagedModel:
        return "damaged: restore it from a copy or fit again"
    return "ok"


def _words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        value = [f"{name} ({count:,})" for name, count in value.items()]
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
