"""A model's folder: which names in it are ours, and when it may be replaced.

Only names that driftback writes are ever deleted, one by one, `config.json` first: a folder without it is a model that
was being made or unmade when something was killed, and counts as empty.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from driftback.errors import BadInput

CONFIG = "config.json"
OURS = (
    CONFIG,
    "weights.safetensors",
    "metrics.jsonl",
    "evaluation.json",
    "report.html",
    "grid.png",
    ".demo",
    "training",
    "previews",
)


def _is_part(path: Path) -> bool:
    """Whether this is a temporary file that a kill left behind (`driftback.files.writing`)."""
    return path.name.startswith(".") and ".part" in path.name


def refuse(folder: Path, *, force: bool) -> None:
    """Raise BadInput, in one line, if a new model must not be written to `folder`. Nothing is changed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; give --out a folder")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in OURS and not _is_part(p))
    if foreign:
        raise BadInput(f"{folder} holds {foreign[0]}, which is no part of a model; give another --out")
    if (folder / CONFIG).exists() and not force:
        raise BadInput(f"{folder} holds a model; go on with --resume, replace it with --force, or give another --out")


def begun(folder: Path) -> bool:
    """Whether a training has left anything in `folder`."""
    return folder.is_dir() and any(path.name in OURS or _is_part(path) for path in folder.iterdir())


def clear(folder: Path) -> None:
    """Delete what driftback wrote in `folder`, if anything, `config.json` first."""
    for path in (*(folder / name for name in OURS), *_parts(folder)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete the temporary files that a kill left in `folder`."""
    for path in _parts(folder):
        path.unlink(missing_ok=True)


def _parts(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.is_file() and _is_part(p)] if folder.is_dir() else []
