"""A model's folder: which names in it are ours, and when it may be replaced.

Only names that driftback writes are ever deleted, one by one, `config.json` first: a folder without it is a model that
was being made or unmade when something was killed, and counts as empty. One training at a time writes to a folder: it
holds a lock on it, which the system takes back when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftback.errors import BadInput, DamagedModel
from driftback.files import PART

CONFIG = "config.json"
OURS = (
    CONFIG,
    "weights.safetensors",
    "metrics.jsonl",
    "evaluation.json",
    "solver.json",
    "report.html",
    "grid.png",
    ".demo",
    "training",
    "previews",
    "tensorboard",
)


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Nobody else trains in `folder`, which is made if it is missing, within the block. Raises BadInput if somebody
    does already.
    """
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror or error}; nothing was left half-written") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BadInput(f"another driftback is training in {folder}; wait for it, or give another --out") from None
    except OSError:
        pass  # a file system without locks: as safe as before there were any
    try:
        yield
    finally:
        os.close(descriptor)


def _is_stale(path: Path) -> bool:
    """Whether this is a temporary file of `driftback.files.writing` whose process is gone."""
    made = PART.fullmatch(path.name)
    if made is None or path.is_symlink() or not path.is_file():
        return False
    process = int(made[1])
    if process == os.getpid():
        return True  # this one writes nothing now; a container gives the same number again and again
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def refuse(folder: Path, *, force: bool) -> None:
    """Raise BadInput, in one line, if a new model must not be written to `folder`. Nothing is changed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; give --out a folder")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in OURS and not PART.fullmatch(p.name))
    if foreign:
        raise BadInput(f"{folder} holds {foreign[0]}, which is no part of a model; give another --out")
    if (folder / CONFIG).exists() and not force:
        raise BadInput(f"{folder} holds a model; go on with --resume, replace it with --force, or give another --out")


def refuse_to_retrain(folder: Path) -> None:
    """Raise DamagedModel where there are weights but not the state that a resume needs: it would train them away."""
    state = folder / "training" / "state.safetensors"
    if (folder / "weights.safetensors").is_file() and not state.is_file():
        raise DamagedModel(
            f"{state} is missing, without which no training goes on; use the model in {folder} as it is, or start "
            "again with --force"
        )


def begun(folder: Path) -> bool:
    """Whether a training has left anything in `folder`."""
    return folder.is_dir() and any(path.name in OURS or PART.fullmatch(path.name) for path in folder.iterdir())


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
    places = (folder, folder / "training", folder / "training" / "snapshots", folder / "previews")
    return [path for place in places if place.is_dir() for path in place.iterdir() if _is_stale(path)]
