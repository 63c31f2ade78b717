"""Delimited text: .csv and .tsv files, read once into named columns of numbers or words.

The delimiter is the one of comma, semicolon, tab, bar and blank that cuts the first lines into equally many cells; a
decimal comma is known by a delimiter that is no comma; a first row with a word in it, above numbers, is a header.
"""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from driftback.data.dataset import Dataset
from driftback.data.reader import Options, Reader, is_file, read_bytes
from driftback.data.tables import MISSING, TAKES, from_columns, numbered
from driftback.errors import BadInput

DELIMITERS = (",", ";", "\t", "|", " ")


def read(source: Any, options: Options) -> Dataset:
    """Points (n, d) float64 from the columns of a delimited text file (see `tables.from_columns`)."""
    path = Path(source)
    text = _text(read_bytes(path), path)
    lines = text.split("\n", 60)[:60]
    if not text.strip():
        raise BadInput(f"{path} is empty: give one row per item")
    delimiter = _delimiter([line for line in lines if line.strip()])
    top = list(csv.reader([line for line in lines if line.strip()][:2], delimiter=delimiter, skipinitialspace=True))
    head = top[0]
    decimal = "," if delimiter != "," and _has_decimal_comma(lines, delimiter) else "."
    has_header = _is_header(head, top[-1], decimal)
    if has_header and len(top) == 1:
        raise BadInput(f"{path} has a header and no rows: give one row per item")
    names = [cell.strip() for cell in head] if has_header else [numbered(j) for j in range(len(head))]
    table = None if decimal == "," else _quick(text, delimiter, has_header, len(head))
    columns = _columns(_rows(text, delimiter, path, has_header, len(head)), decimal) if table is None else list(table.T)
    return from_columns(names, columns, path.name, options)


def _text(raw: bytes, path: Path) -> str:
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise BadInput(f"{path} is no text file: give comma-separated numbers, or name the file after what it is")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(lines: list[str]) -> str:
    # The last line may be cut off by the limit on how many are looked at, or by the end of the file.
    counts = {
        d: {len(row) for row in csv.reader(lines[:50], delimiter=d, skipinitialspace=d == " ")} for d in DELIMITERS
    }
    even = [d for d in DELIMITERS if len(counts[d]) == 1 and counts[d] != {1}]
    # With decimal commas a comma cuts evenly too; a semicolon or a tab that does so is then the delimiter.
    return next(
        (d for d in (";", "\t", "|") if d in even), even[0] if even else max(DELIMITERS, key=lambda d: max(counts[d]))
    )


def _has_decimal_comma(lines: list[str], delimiter: str) -> bool:
    cells = [cell for row in csv.reader(lines, delimiter=delimiter) for cell in row]
    return any("," in cell and _number(cell, ",") is not None for cell in cells)


def _is_header(head: list[str], below: list[str], decimal: str) -> bool:
    words = [_number(cell, decimal) is None for cell in head]
    above_numbers = any(w and _number(cell, decimal) is not None for w, cell in zip(words, below, strict=False))
    return above_numbers or all(w or not cell.strip() for w, cell in zip(words, head, strict=True))


def _number(cell: str, decimal: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it holds a word."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return float("nan")
    if decimal == "," and cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    try:
        # Python reads 1_000 as a number; in a table it is a word.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _quick(text: str, delimiter: str, has_header: bool, width: int) -> np.ndarray | None:
    """The whole table by numpy's own parser, or None where it needs a closer look."""
    lines = io.StringIO(text.lstrip("\n"))
    try:
        table = np.loadtxt(
            lines,
            delimiter=None if delimiter == " " else delimiter,
            skiprows=int(has_header),
            ndmin=2,
            comments=None,
            quotechar='"',
        )
    except ValueError:
        return None
    return table if table.shape[1] == width and len(table) else None


def _rows(text: str, delimiter: str, path: Path, has_header: bool, width: int) -> list[list[str]]:
    rows = []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if (not any(cell.strip() for cell in row) and width > 1) or not row:
                continue
            if len(row) != width:
                raise BadInput(
                    f"{path} line {reader.line_num} has {len(row)} cells where the first has {width}: repair that line"
                )
            rows.append(row)
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num} cannot be read ({error}): repair that line") from None
    return rows[1:] if has_header else rows


def _columns(rows: list[list[str]], decimal: str) -> list[np.ndarray]:
    columns = []
    for cells in zip(*rows, strict=True):
        numbers = [_number(cell, decimal) for cell in cells]
        words = any(number is None for number in numbers)
        columns.append(np.array([cell.strip() for cell in cells]) if words else np.array(numbers, np.float64))
    return columns


READER = Reader(
    "a .csv or .tsv file of numbers (.gz too)",
    lambda source: is_file(source, ".csv", ".tsv", ".txt"),
    read,
    TAKES,
)
