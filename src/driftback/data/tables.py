"""Tables: named columns become points, one decision per column, each of them reported.

Words are refused (or are the class labels), rows with missing values are left out and counted, columns that only number
the rows are left out, constant columns stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from driftback.data.beside import as_known, beside, named_of
from driftback.data.dataset import Dataset, Finding, as_labels
from driftback.data.reader import Alike, Options
from driftback.errors import BadInput

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "nil", "missing", "#n/a"})
TAKES = frozenset({"label", "columns", "caption", "numbers", "group"})
"""The options that every reader of tables heeds."""
TRUTH = {"true": 1.0, "false": 0.0}
ROW_NAMES = frozenset({"", "id", "index", "idx", "rowid", "row", "uuid", "unnamed: 0"})


class WordsFound(BadInput):
    """Columns of words stand among those that are wanted; `numbers` are the others."""

    def __init__(self, message: str, numbers: tuple[str, ...]) -> None:
        super().__init__(message)
        self.numbers = numbers


def from_columns(names: Sequence[str], columns: Sequence[np.ndarray], name: str, options: Options) -> Dataset:
    """Points (n, d) float64 from columns (n,), each of numbers (NaN is missing) or of words.

    `options.label` names the column that holds the classes, `options.caption`, `numbers` and `group` those that go with
    the items and are not drawn, `options.columns` those to take, in that order; without
    it, those of the model that `options.alike` tells of, else all but the label and the row numbers. Raises BadInput
    for unknown or doubled names, and nothing left, and `WordsFound`, which is one, for words.
    """
    doubled = [c for i, c in enumerate(names) if c in names[:i]]
    if doubled:
        raise BadInput(f"{name} has two columns named {doubled[0]!r}: rename one")
    table = dict(zip(names, columns, strict=True))
    if not table or not len(columns[0]):
        raise BadInput(f"{name} has no rows: give at least one")
    _refuse_unknown(table, name, options)
    alike = options.alike or Alike()
    label_name = alike.label if options.label is None and alike.label in table else options.label
    label = None if label_name is None else table[label_name]
    if options.label is not None and options.label in (options.columns or ()):
        raise BadInput(f"column {options.label!r} is the label, and no column to draw: leave it out of --columns")
    options = as_known(table, options)
    extras = named_of(table, options, name)
    findings: list[Finding] = []
    wanted = options.columns or _matched(alike.columns, names, name)
    if set(wanted or ()) == set(alike.columns):
        wanted = alike.columns or wanted
    if wanted is None:
        chosen = [c for c in names if c != label_name and c not in extras]
        counters = [c for c in chosen if len(chosen) > 1 and _numbers_rows(c, table[c])]
        findings += [
            Finding("warning", f"column {c!r} numbers the rows: left out (to keep it, name the columns)")
            for c in counters
        ]
        empty = [c for c in chosen if table[c].dtype.kind == "f" and np.isnan(table[c]).all()]
        findings += [Finding("warning", f"column {c!r} is empty: left out") for c in empty]
        chosen = [c for c in chosen if c not in counters and c not in empty]
    else:
        chosen = list(wanted)
    truths = [c for c in chosen if _true_or_false(table[c])]
    table |= {c: _as_numbers(table[c]) for c in truths}
    findings += [Finding("note", f"column {c!r} holds true and false: read as 1 and 0") for c in truths]
    _refuse_words(table, chosen, name)
    if not chosen:
        raise BadInput(f"{name} has no numeric column left: it needs at least one besides labels and row numbers")
    x = np.stack([table[c] for c in chosen], 1).astype(np.float64, copy=False)
    keep, dropped = _complete(x, label, chosen, name)
    findings += dropped
    y, classes = (None, ()) if label is None else as_labels(label[keep], int(keep.sum()))
    return beside(
        Dataset(
            x[keep],
            y,
            "points",
            classes,
            tuple(chosen),
            name,
            tuple(findings),
            incomplete=int((~keep).sum()),
        ),
        caption=None if options.caption is None else _said(table[options.caption][keep]),
        numbers={c: table[c][keep] for c in options.numbers or ()} or None,
        group=None if options.group is None else table[options.group][keep],
    )


def _said(column: np.ndarray) -> list[str]:
    return ["" if str(one).strip().lower() in MISSING else str(one) for one in column.tolist()]


def _refuse_unknown(table: dict[str, np.ndarray], name: str, options: Options) -> None:
    wanted = [*(options.columns or ()), *([] if options.label is None else [options.label])]
    unknown = [c for c in wanted if c not in table]
    if unknown:
        raise BadInput(f"{name} has no column {unknown[0]!r}: its columns are {_listed(list(table))}")


def numbered(j: int) -> str:
    """The name of column `j` of a table without a header."""
    return f"c{j}"


def _made_up(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"c\d+", name) for name in names)


def aligned(dataset: Dataset, alike: Alike) -> Dataset:
    """`dataset` with the columns that a model knows, in its order. Raises BadInput, as `from_columns`, for missing
    names.
    """
    wanted = _matched(alike.columns, dataset.columns, dataset.name) if dataset.columns else None
    if wanted is None or wanted == dataset.columns:
        return dataset
    order = [dataset.columns.index(c) for c in wanted]
    return replace(dataset, x=dataset.x[:, order], columns=wanted)


def _matched(known: tuple[str, ...], names: Sequence[str], name: str) -> tuple[str, ...] | None:
    """The columns that a model knows, where `names` has them all; None where either has no names of its own."""
    missing = [c for c in known if c not in names]
    if not known or not missing:
        return known or None
    if _made_up(known) or _made_up(names):
        return None
    raise BadInput(
        f"{name} lacks {_quoted(missing)}, which the model was fitted on: its columns are {_listed(list(names))}; "
        "rename or add them"
    )


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"the column{'s' * (len(names) > 1)} " + ", ".join(map(repr, names[:4])) + more


def _numbers_rows(name: str, column: np.ndarray) -> bool:
    """Whether a column is a row number: 0, 1, 2, ... or 1, 2, 3, ..., or named like one and never the same twice."""
    if len(column) < 3:
        return False
    if column.dtype.kind != "U":
        count = np.arange(len(column))
        if (column == count).all() or (column == count + 1).all():
            return True
        if not np.isfinite(column).all() or (column != np.rint(column)).any():
            return False
    return name.strip().lower() in ROW_NAMES and len(np.unique(column)) == len(column)


def _true_or_false(column: np.ndarray) -> bool:
    found = {v.strip().lower() for v in np.unique(column).tolist()} if column.dtype.kind == "U" else set()
    return bool(found & set(TRUTH)) and found <= set(TRUTH) | MISSING


def _as_numbers(column: np.ndarray) -> np.ndarray:
    return np.array([TRUTH.get(v.strip().lower(), np.nan) for v in column.tolist()])


def _refuse_words(table: dict[str, np.ndarray], chosen: list[str], name: str) -> None:
    words = [c for c in chosen if table[c].dtype.kind == "U"]
    if not words:
        return
    shown = ", ".join(f"{c!r} (such as {_a_word(table[c])!r}, {len(np.unique(table[c]))} different)" for c in words[:4])
    more = f" and {len(words) - 4} more" if len(words) > 4 else ""
    numbers = tuple(c for c in chosen if c not in words)
    few = ",".join(numbers[:6]) + ",..." * (len(numbers) > 6)
    others = f"take the others (--columns {few})" if numbers else "remove them"
    raise WordsFound(
        f"{name} has columns that are not numbers: {shown}{more}; {others}, turn them into numbers, "
        f"or name one as the class labels: --label {words[0]} (from Python y={words[0]!r})",
        numbers,
    )


def _a_word(column: np.ndarray) -> str:
    for value in column.tolist():
        try:
            float(value)
        except ValueError:
            if value.strip().lower() not in MISSING:
                return str(value)[:30]
    return str(column[0])[:30]


def _complete(
    x: np.ndarray, label: np.ndarray | None, chosen: list[str], name: str
) -> tuple[np.ndarray, list[Finding]]:
    missing = np.isnan(x)
    keep = ~missing.any(1)
    if label is not None:
        keep &= _has_label(label)
    if keep.sum() < len(x) / 2:
        worst = chosen[int(missing.sum(0).argmax())]
        raise BadInput(
            f"{int((~keep).sum())} of the {len(x)} rows of {name} have missing values, most of them "
            f"in column {worst!r}: "
            "fill them, or leave that column out"
        )
    lacking = [
        f"column {chosen[j]!r} has missing values ({where.sum()}, the first in row {where.argmax() + 1})"
        for j, where in enumerate(missing.T)
        if where.any()
    ]
    if label is not None and not _has_label(label).all():
        lacking.append("labels are missing")
    what = (
        f"{int((~keep).sum())} of {len(x)} rows are left out: {'; '.join(lacking[:5])}{' ...' if lacking[5:] else ''}"
    )
    return keep, [] if keep.all() else [Finding("warning", what, int((~keep).sum()))]


def _has_label(label: np.ndarray) -> np.ndarray:
    if label.dtype.kind == "f":
        return ~np.isnan(label)
    return np.array([v.strip().lower() not in MISSING for v in label.tolist()])


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
