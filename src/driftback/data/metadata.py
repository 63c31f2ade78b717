"""What stands beside pictures: `metadata.jsonl`, `.csv` or `.parquet`, a line for each file, as Hugging Face lays them.

The column `file_name` holds a path relative to the folder that the metadata lie in, which may be any folder of the
tree; the other columns hold what is known of that picture: a class, a caption, a number.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from driftback.data.dataset import Finding
from driftback.data.reader import read_bytes
from driftback.errors import BadInput

FILE_NAME = "file_name"
DELIMITERS = (",", ";", "\t", "|")

Line = tuple[int, dict[str, Any] | None]
"""The number of a line in its file, and what it says by column; None where it cannot be read."""


@dataclass
class Lines:
    """What metadata say of each picture, by its path relative to the folder of pictures, and what was noticed."""

    of: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    trouble: str = ""
    """Why a file of metadata could not be read at all, where one could not."""


def read(folder: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Lines:
    """The metadata `files` of the `pictures` below `folder`; lines of no use are counted, and listed."""
    found, there = Lines(), {path.relative_to(folder).as_posix() for path in pictures}
    broken, lost, again = list[str](), list[str](), list[str]()
    for file in files:
        here, name = file.parent.relative_to(folder), str(file.relative_to(folder))
        try:
            lines = list(READERS[file.suffix.lower()](file))
        except BadInput as error:
            found.trouble = str(error)
            found.findings.append(Finding("warning", f"{error}; what it says is left out", 1, (name,)))
            continue
        for number, line in lines:
            if line is None or not isinstance(line.get(FILE_NAME), str):
                broken.append(f"{name} line {number}")
                continue
            found.columns += tuple(column for column in line if column not in found.columns and column != FILE_NAME)
            path = posixpath.normpath(posixpath.join(here.as_posix(), line[FILE_NAME].replace("\\", "/")))
            if path not in there:
                lost.append(f"{name} line {number}: {path}{_meant(path, there) if len(lost) < SHOWN else ''}")
            elif path in found.of:
                again.append(f"{name} line {number}: {path}")
            else:
                found.of[path] = line
    for what, which in (
        ("lines of the metadata cannot be read, or have no file_name: left out", broken),
        ("lines of the metadata name files that are not there", lost),
        ("lines of the metadata name a file again: the first line counts", again),
    ):
        if which:
            found.findings.append(Finding("warning", what, len(which), tuple(which)))
    return found


SHOWN = 5
"""For so many files that are missing something near is looked for."""
MANY = 20_000
"""Among so many names nobody waits for the nearest."""


def _meant(path: str, there: set[str]) -> str:
    name = PurePosixPath(path).name.lower()
    like = sorted(other for other in there if PurePosixPath(other).name.lower() == name)
    meant = like or (difflib.get_close_matches(path, there, 1, 0.7) if len(there) < MANY else [])
    return f" (did you mean {meant[0]}?)" if meant else ""


def _refuse_columns(columns: Sequence[str], path: Path) -> None:
    if FILE_NAME not in columns:
        near = difflib.get_close_matches(FILE_NAME, columns, 1, 0.5)
        hint = f"rename {near[0]!r}" if near else "add it"
        raise BadInput(f"{path} has no column {FILE_NAME} (it has {', '.join(columns) or 'none'}): {hint}")


def _jsonl(path: Path) -> Iterator[Line]:
    columns: dict[str, None] = {}
    lines: list[Line] = []
    for number, raw in enumerate(read_bytes(path).splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw.decode("utf-8-sig"))
        except ValueError:
            line = None
        lines.append((number, line if isinstance(line, dict) else None))
        columns |= dict.fromkeys(line if isinstance(line, dict) else ())
    if columns or not lines:
        _refuse_columns(list(columns), path)
    return iter(lines)


def _csv(path: Path) -> Iterator[Line]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text: save it as UTF-8") from None
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in DELIMITERS if FILE_NAME in next(csv.reader([first], delimiter=d), [])), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        head = [cell.strip() for cell in next(reader, [])]
        _refuse_columns(head, path)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num} cannot be read ({error}): repair that line") from None
    return ((number, dict(zip(head, row, strict=True)) if len(row) == len(head) else None) for number, row in rows)


def _parquet(path: Path) -> Iterator[Line]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError:
        raise BadInput(f"{path} needs pyarrow: pip install 'driftback[table]', or save it as metadata.csv") from None
    try:
        table = read_table(path).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {str(error).splitlines()[0].lower()}") from None
    _refuse_columns(list(table[0]) if table else [], path)
    return iter(enumerate(table, 1))


READERS: dict[str, Callable[[Path], Iterator[Line]]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
"""By suffix; the names of the files are `metadata` with one of these."""
NAMES = frozenset(f"metadata{suffix}" for suffix in READERS)
