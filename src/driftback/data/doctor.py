"""The data doctor: what is in the data, what will be done to it, and what will go wrong, before any training.

Each check is a function of the data set that yields findings; the doctor runs them all. An error means that fitting
will be refused, a warning that samples will suffer, a note is only good to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from driftback.data.dataset import Dataset, Finding
from driftback.data.extent import LARGEST, SCALE_DOWN, too_large
from driftback.data.plan import how_split, said_beside, scaling
from driftback.data.preprocessing import Preprocessing
from driftback.data.rows import blocks
from driftback.data.split import repeats_by_chance
from driftback.errors import BadInput

FEWEST = 10
FEW = 1_000


def check(dataset: Dataset) -> tuple[Finding, ...]:
    """Everything that was noticed on reading and that can be seen before training, the worst first."""
    usable = not any(True for unusable in (not_finite, large) for _ in unusable(dataset))
    checks = CHECKS if usable else (not_finite, large, how_many, labels)
    found = [*dataset.findings, *(finding for each in checks for finding in each(dataset))]
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.level]))


def refuse_errors(dataset: Dataset) -> None:
    """Raise BadInput with the first error that the doctor finds, if there is one."""
    errors = [finding for finding in check(dataset) if finding.level == "error"]
    if errors:
        raise BadInput(f"{dataset.name}: {errors[0].what}")


def not_finite(dataset: Dataset) -> Iterator[Finding]:
    """NaN and infinity: how many, and the first places."""
    x = dataset.x
    if x.dtype.kind != "f":
        return
    count = 0
    places: list[tuple[int, ...]] = []
    for part in blocks(x):
        bad = np.argwhere(~np.isfinite(x[part]))
        count += len(bad)
        places += [(part.start + i, *rest) for i, *rest in bad[: 3 - len(places)].tolist()] if len(places) < 3 else []
    if count:
        where = ", ".join(f"item {i} at {_place(dataset, rest)}" for i, *rest in places)
        yield Finding(
            "error",
            f"values are NaN or infinite: {where}{' ...' if count > 3 else ''}; drop or fill these items",
            count,
        )


def large(dataset: Dataset) -> Iterator[Finding]:
    """Values whose squares overflow."""
    if count := too_large(dataset.x):
        _, *rest = np.argwhere(np.isfinite(dataset.x) & (np.abs(dataset.x) > LARGEST))[0].tolist()
        yield Finding(
            "error",
            f"values beyond {LARGEST:g}, the first at {_place(dataset, rest)}: their squares overflow; {SCALE_DOWN}",
            count,
        )


def _place(dataset: Dataset, rest: list[int]) -> str:
    return f"column {dataset.column(rest[0])}" if len(rest) == 1 else str(tuple(rest))


def how_many(dataset: Dataset) -> Iterator[Finding]:
    """Too few items to learn from, or few enough to be learnt by heart."""
    n = len(dataset)
    if n < FEWEST:
        yield Finding(
            "error", f"only {n} item{'s' * (n != 1)}: at least {FEWEST} are needed, and {FEW:,} or more are better", n
        )
    elif n < FEW:
        hint = "augment them (--augment), " if dataset.kind == "pictures" else ""
        what = f"under {FEW:,} a model tends to memorise them; gather more, {hint}or stop early"
        yield Finding("warning", f"only {n} items: {what}", n)


def constants(dataset: Dataset) -> Iterator[Finding]:
    """Values that never change."""
    x = dataset.x
    low, high = x.min(0), x.max(0)
    same = low == high
    if len(x) > 1 and same.all():
        yield Finding("error", "all items are the same: there is nothing to learn", len(dataset))
    elif dataset.kind == "points" and same.any():
        names = ", ".join(f"{dataset.column(j)} = {low[j]:g}" for j in np.flatnonzero(same)[:5])
        more = " ..." if same.sum() > 5 else ""
        yield Finding(
            "warning", f"columns that never change: {names}{more}; samples will repeat the value", int(same.sum())
        )


def copies(dataset: Dataset) -> Iterator[Finding]:
    """Exact duplicates, and copies whose labels disagree."""
    if repeats_by_chance(dataset):
        return
    first = dataset.first_copies
    again = np.flatnonzero(first != np.arange(len(first)))
    if not len(again):
        return
    shown = ", ".join(f"{i} = {first[i]}" for i in again[:5])
    yield Finding(
        "warning",
        f"items are exact copies of an earlier item ({shown}{' ...' if len(again) > 5 else ''}): all copies of an item "
        "are trained on, or all are held out",
        len(again),
    )
    if dataset.y is not None and (differ := int((dataset.y[again] != dataset.y[first[again]]).sum())):
        yield Finding("warning", "copies carry another label than the item that they copy", differ)


def grey(dataset: Dataset) -> Iterator[Finding]:
    """Colour pictures whose channels are all equal."""
    if dataset.kind != "pictures" or len(dataset.event_shape) != 3:
        return
    axis = 1 if Preprocessing.fit(dataset).layout == "chw" else -1
    parts = (np.moveaxis(dataset.x[part], axis, -1) for part in blocks(dataset.x))
    if dataset.event_shape[axis - (axis > 0)] >= 3 and all((x[..., :3] == x[..., :1]).all() for x in parts):
        yield Finding(
            "warning",
            "all pictures are grey in three equal channels: one channel (--channels 1) trains faster",
            len(dataset),
        )


def labels(dataset: Dataset) -> Iterator[Finding]:
    """Classes with few items, and too many classes."""
    if dataset.y is None:
        return
    counts = np.bincount(dataset.y, minlength=len(dataset.classes))
    listed = ", ".join(f"{name} {count}" for name, count in list(zip(dataset.classes, counts, strict=True))[:12])
    yield Finding("note", f"{len(counts)} classes: {listed}{' ...' if len(counts) > 12 else ''}", len(counts))
    single = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 1]
    if single:
        yield Finding(
            "warning",
            f"classes of one item ({', '.join(single[:5])}): the split ignores classes; merge or drop them",
            len(single),
        )
    present = counts[counts > 0]
    if len(present) > 1 and present.max() > 10 * present.min():
        few, many = (
            dataset.classes[int(np.argmin(np.where(counts > 0, counts, len(dataset) + 1)))],
            dataset.classes[int(counts.argmax())],
        )
        yield Finding(
            "warning",
            f"classes are unequal: {many} has {counts.max()}, {few} has {present.min()}; the rare ones will be worse",
        )
    if len(present) == 1:
        yield Finding("warning", "one class only: labels tell nothing", len(dataset))
    elif len(present) > len(dataset) / 5:
        yield Finding(
            "warning",
            f"{len(present)} classes for {len(dataset)} items: labels look like identifiers or measurements",
            len(present),
        )


def outliers(dataset: Dataset) -> Iterator[Finding]:
    """Columns whose few extreme values, or whose span of magnitudes, leave the rest no room after standardising."""
    if dataset.kind != "points":
        return
    for j in range(dataset.x.shape[1]):
        column = dataset.x[:, j].astype(np.float64)
        low, middle, high = np.quantile(column, [0.01, 0.5, 0.99])
        reach = np.abs(column - middle)
        far = int((reach > 20 * (high - low)).sum()) if high > low else 0
        if low > 0 and high / low > 1e4:
            what = f"spans {math.log10(high / low):.0f} orders of magnitude: take its logarithm"
            yield Finding("warning", f"column {dataset.column(j)} {what}")
        elif far:
            what = f"has values far outside all others, such as {column[int(reach.argmax())]:g}: check or drop them"
            yield Finding("warning", f"column {dataset.column(j)} {what}", far)
    if dataset.x.dtype == np.float64:
        span, middle = np.ptp(dataset.x, 0), np.abs(dataset.x).max(0)
        coarse = np.flatnonzero((span > 0) & (span < 1e-9 * middle))
        if len(coarse):
            yield Finding(
                "warning",
                f"column {dataset.column(coarse[0])} changes only in its last digits: subtract its mean",
                len(coarse),
            )


CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    not_finite,
    large,
    how_many,
    constants,
    copies,
    scaling,
    grey,
    labels,
    outliers,
    said_beside,
    how_split,
)
"""All checks; a new one joins by its name here."""
