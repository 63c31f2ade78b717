"""The pictures below a folder, in a stable order, and what else lies there that was perhaps meant to be one."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from driftback.data.dataset import Finding
from driftback.data.metadata import NAMES
from driftback.errors import BadInput

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".tga"}
)
CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
DATA = (".npy", ".npz", ".csv", ".tsv")


@dataclass(frozen=True)
class Tree:
    """Paths of pictures in the order of their names, and what was noticed on the way."""

    pictures: list[Path]
    findings: tuple[Finding, ...]
    metadata: tuple[Path, ...] = ()


def walk(folder: Path) -> Tree:
    """All pictures below `folder`, hidden files and folders and links that lead in a circle left out.

    Raises BadInput when there is none, with what lies there instead; or when the folder itself cannot be read.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    hidden: list[Path] = []
    metadata: list[Path] = []
    closed: list[str] = []
    seen: set[tuple[int, int]] = set()
    for top, folders, files in os.walk(folder, onerror=lambda e: closed.append(str(e.filename)), followlinks=True):
        here = os.stat(top)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(f for f in folders if not _is_clutter(f))
        for name in sorted(files):
            path = Path(top, name)
            kind = hidden if _is_clutter(name) else pictures if path.suffix.lower() in SUFFIXES else others
            (metadata if name.lower() in NAMES else kind).append(path)
    if str(folder) in closed:
        raise BadInput(f"cannot open the folder {folder}: ask for permission to read it")
    if not pictures:
        raise BadInput(_nothing(folder, [*metadata, *others], hidden))
    return Tree(pictures, tuple(_findings(folder, others, closed)), tuple(metadata))


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER


def _best(path: Path) -> str:
    return difflib.get_close_matches(path.name.lower(), NAMES, 1, 0.0)[0]


def _nearly(path: Path) -> bool:
    return bool(difflib.get_close_matches(path.suffix.lower(), SUFFIXES, 1, 0.7))


def _findings(folder: Path, others: list[Path], closed: list[str]) -> list[Finding]:
    findings = []
    near = [str(p.relative_to(folder)) for p in others if _nearly(p)]
    meant = [p for p in others if difflib.get_close_matches(p.name.lower(), NAMES, 1, 0.8)]
    rest = [str(p.relative_to(folder)) for p in others if not _nearly(p) and p not in meant]
    if near:
        findings.append(
            Finding(
                "warning", "files with a suffix that looks misspelt are not read: rename them", len(near), tuple(near)
            )
        )
    if meant:
        names = tuple(str(p.relative_to(folder)) for p in meant)
        what = f"files with a name that looks like misspelt metadata are not read: rename them to {_best(meant[0])}"
        findings.append(Finding("warning", what, len(names), names))
    if rest:
        findings.append(Finding("note", "files that are no pictures are not read", len(rest), tuple(rest)))
    if closed:
        findings.append(Finding("warning", "folders that cannot be opened are left out", len(closed), tuple(closed)))
    return findings


def _nothing(folder: Path, others: list[Path], hidden: list[Path]) -> str:
    near = [p for p in others if _nearly(p)]
    data = [p for p in others if p.suffix.lower() in DATA or "idx" in p.name.lower()]
    what = f"{folder} holds no pictures"
    if near:
        return f"{what}, but {len(near)} files such as {near[0].name}: rename them to a suffix such as .jpg or .png"
    if data:
        return f"{what}, but {data[0].name}: give that file itself, {data[0]}"
    if others:
        known = ", ".join(sorted(SUFFIXES))
        return f"{what}, but {len(others)} other files such as {others[0].name}: pictures end in {known}"
    if hidden:
        return f"{what}, only {len(hidden)} hidden files such as {hidden[0].name}: rename them without the leading dot"
    return f"{what} and no other files: put pictures into it, or into one sub-folder per class"
