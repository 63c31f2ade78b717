"""Where results will go, looked at before hours are spent on making them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from driftback.errors import BadInput

PICTURES = (".png", ".svg")


def free(path: Path, suffixes: Sequence[str], *, force: bool, what: str = "draw") -> None:
    """BadInput where `path` ends in none of the `suffixes`, is taken (unless `force`), or lies where nothing can be
    written.
    """
    target = path.expanduser()
    if target.suffix.lower() not in suffixes:
        ends = " or ".join(part for part in (", ".join(suffixes[:-1]), suffixes[-1]) if part)
        raise BadInput(f"cannot {what} {path}: let the name end in {ends}")
    if target.exists() and not force:
        raise BadInput(f"{path} exists already; replace it with --force, or choose another name")
    there = next(parent for parent in target.absolute().parents if parent.exists())
    if not there.is_dir():
        raise BadInput(f"cannot {what} {path}: {there} is a file and no folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"cannot {what} {path}: nothing may be written in {there}; choose another place")
