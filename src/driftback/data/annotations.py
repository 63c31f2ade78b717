"""Columns beside pictures become what a model can be asked for: classes, captions, numbers.

A picture that lacks what is read of the others is left out, counted and named: a model cannot learn from a condition
that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftback.arguments import near
from driftback.data.dataset import Finding, as_labels
from driftback.data.metadata import Lines
from driftback.data.reader import Alike, Options
from driftback.data.tables import MISSING
from driftback.errors import BadInput

CAPTIONS = ("text", "caption")
"""Columns that are captions where none is named."""
LABELS = ("label",)
"""Columns that are classes where none is named, and no sub-folders tell them."""


@dataclass(frozen=True)
class Annotations:
    """What is known of pictures: `keep` (n,) says which have all of it, and the rest is of these alone."""

    keep: np.ndarray
    y: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None
    numbers: np.ndarray | None = None
    number_names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def annotated(files: Sequence[str], lines: Lines, options: Options, name: str, *, labelled: bool) -> Annotations:
    """What `lines` say of `files` (paths relative to the folder called `name`).

    `options` names the columns, and those of `options.alike` are read where they are there. Where nothing is named,
    `CAPTIONS` are read, for a model learns captions, classes or numbers, and `LABELS` unless the pictures are
    `labelled` already. Raises BadInput for columns that are not there.
    """
    known, alike = lines.columns, options.alike or Alike()
    for column in (options.label, options.caption, *(options.numbers or ())):
        if column is not None and column not in known:
            raise BadInput(_missing(column, lines, name))
    label = options.label or _first((alike.label,), known) or (None if labelled else _first(LABELS, known))
    told = options.label or options.numbers or alike.label or alike.numbers
    caption = options.caption or _first((alike.caption, *(() if told else CAPTIONS)), known)
    numbers = options.numbers or tuple(column for column in alike.numbers if column in known)
    wanted = [column for column in (label, caption, *numbers) if column is not None]
    keep, findings = np.ones(len(files), bool), list[Finding]()
    if not wanted:
        return Annotations(keep)
    said = [lines.of.get(file.replace("\\", "/"), {}) for file in files]
    if not any(said):
        raise BadInput(f"no line of the metadata names a picture of {name}: {_told(lines)}")
    texts = None if caption is None else [_text(line.get(caption)) for line in said]
    names = None if label is None else [_text(line.get(label)) for line in said]
    values = np.array([[_number(line.get(column)) for column in numbers] for line in said]).reshape(len(said), -1)
    for column, bad in zip(numbers, np.isnan(values).all(0), strict=True):
        if bad:
            first = next((line[column] for line in said if column in line), "")
            raise BadInput(f"the column {column!r} of the metadata of {name} holds no numbers (such as {first!r})")
    for what, lacking in (
        ("have no line in the metadata", np.array([not line for line in said])),
        (f"have no {caption!r} in the metadata", _empty(texts, len(said))),
        (f"have no {label!r} in the metadata", _empty(names, len(said))),
        (f"have no number {' or '.join(map(repr, numbers))} in the metadata", np.isnan(values).any(1)),
    ):
        now = lacking & keep
        if now.any():
            which = tuple(file for file, lacks in zip(files, now, strict=True) if lacks)
            findings.append(Finding("warning", f"pictures {what}: left out", len(which), which))
        keep &= ~lacking
    if not keep.any():
        raise BadInput(f"no picture of {name} has all of {', '.join(map(repr, wanted))} in the metadata: fill them in")
    kept = np.flatnonzero(keep)
    codes, classes = (None, ()) if names is None else as_labels(np.array([names[i] for i in kept]), len(kept))
    for what, column in (("classes", label), ("captions", caption)):
        if column is not None:
            findings.append(Finding("note", f"{what} are read from the column {column!r} of the metadata", len(kept)))
    return Annotations(
        keep,
        codes,
        classes,
        None if texts is None else tuple(texts[i] for i in kept),
        values[kept] if numbers else None,
        tuple(numbers),
        tuple(findings),
    )


def _first(names: Sequence[str | None], known: Sequence[str]) -> str | None:
    return next((name for name in names if name is not None and name in known), None)


def _missing(column: str, lines: Lines, name: str) -> str:
    if lines.trouble:
        return f"there is no {column!r} beside the pictures of {name}: {lines.trouble}"
    if not lines.columns:
        return f"there is no {column!r} beside the pictures of {name}: {_told(lines)}"
    return f"the metadata of {name} have no column {column!r}{near(column, lines.columns)}"


def _told(lines: Lines) -> str:
    lost = [found.files[0] for found in lines.findings if found.files]
    return lost[0] if lost else "put a metadata.csv or metadata.jsonl beside them, with the column file_name"


def _text(value: Any) -> str:
    """What a cell says; empty where it says nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())


def _number(value: Any) -> float:
    try:
        return math.nan if value is None or str(value).strip().lower() in MISSING else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _empty(texts: list[str] | None, n: int) -> np.ndarray:
    return np.zeros(n, bool) if texts is None else np.array([not text for text in texts])
