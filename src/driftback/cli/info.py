"""`driftback info`: what a model is, in plain words, and whether its files are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from driftback.cli import options
from driftback.cli.output import emit, say, show

EXAMPLES = ("driftback info runs/digits", "driftback info runs/digits --json")
Unused = Annotated[int, typer.Option("--seed", min=0, help="As for every command; there is nothing random here.")]
FILES = ("weights.safetensors", "training/state.safetensors", "training/best.safetensors", "training/early.safetensors")


def info(run: options.Run, json: options.Json = False, seed: Unused = 0) -> None:
    """Say what a model was made from and how, how far it is, and whether its files are whole.

    Leaves with status 3 if a file is damaged or missing.
    """
    from driftback.recipes.assembly import signal_warning
    from driftback.recipes.config import read
    from driftback.recipes.describe import describe

    facts = describe(run)
    files = {name: _state(run / name) for name in FILES}
    whole = files["weights.safetensors"] == "ok" and not any(state.startswith("damaged") for state in files.values())
    signal = signal_warning(read(run))
    if signal is not None:
        say(f"warning: {signal}")
    if json:
        emit(facts | {"files": files, "whole": whole})
    else:
        for name, value in (facts | {f"file {file}": state for file, state in files.items()}).items():
            show(f"{name.replace('_', ' ') + ':':<34}{_words(value)}")
    if not whole:
        raise typer.Exit(3)


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
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
