"""What will be done to the data: its levels, range and layout, its scaling, and the items that are held out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from driftback.data.dataset import Dataset, Finding
from driftback.data.grouped import groups_of
from driftback.data.levels import distinct
from driftback.data.preprocessing import Preprocessing
from driftback.data.split import repeats_by_chance, split


def scaling(dataset: Dataset) -> Iterator[Finding]:
    """Range and levels, and what the preprocessing will do about them."""
    x, fitted = dataset.x, Preprocessing.fit(dataset)
    low, high = float(x.min()), float(x.max())
    if fitted.levels is not None:
        grid = fitted.levels
        step = f" in steps of {grid.step:g}" if grid.step != 1 else ""
        seen = distinct(x)
        missing = "" if seen is None or len(seen) == grid.count else f", {len(seen)} of them present"
        yield Finding(
            "note",
            f"{grid.count} levels {grid.start:g}..{grid.values[-1]:g}{step}{missing}: treated as "
            "discrete, samples are rounded to them",
            grid.count,
        )
    if fitted.grid is not None:
        yield Finding(
            "note",
            f"values in steps of {fitted.grid.step:g}, too many for levels: likelihoods are probabilities of them",
        )
    if fitted.bounds is not None:
        start, stop = fitted.bounds
        yield Finding(
            "note",
            f"values from {low:g} to {high:g}: the range {start:g}..{stop:g} is scaled to -1..1, and back on output",
        )
        if x.dtype.kind == "f" and low >= 0 and high > 1 and fitted.levels is None and high <= 255:
            yield Finding(
                "warning",
                f"fractions between {low:g} and {high:g}: neither 0..1 nor 0..255 in whole numbers; check the units",
            )
        if (high - low) < 0.1 * (stop - start) and high > low:
            yield Finding(
                "warning",
                f"values fill only {low:g}..{high:g} of the range {start:g}..{stop:g}: pictures of little contrast",
            )
        yield Finding(
            "note",
            f"pictures {dataset.event_shape} ({_LAYOUT[fitted.layout]}): (channels, height, width) = "
            f"{fitted.internal_event} inside",
        )
    elif len(fitted.scale) == 1:
        yield Finding(
            "note", f"values from {low:g} to {high:g}: all columns share one mean and deviation, and go back on output"
        )
    else:
        yield Finding(
            "note",
            f"values from {low:g} to {high:g}: each column is scaled to mean 0 and deviation 1, and back on output",
        )
    if fitted.whole and fitted.levels is None:
        names = ", ".join(dataset.column(j) for j in fitted.whole[:8])
        yield Finding("note", f"columns of whole numbers ({names}): samples are rounded", len(fitted.whole))


_LAYOUT = {"hw": "height, width", "hwc": "height, width, channels", "chw": "channels, height, width"}


def said_beside(dataset: Dataset) -> Iterator[Finding]:
    """Captions and numbers that go with the items: how many, and how many are missing."""
    n = len(dataset)
    if dataset.captions is not None:
        different = len({caption.lower() for caption in dataset.captions if caption})
        together = "; items with one caption are held out together" if groups_of(dataset) is not None else ""
        yield Finding("note", f"{different:,} different captions for {n:,} items{together}", different)
        if silent := sum(not caption for caption in dataset.captions):
            yield Finding("warning" if silent > n / 2 else "note", "items have no caption: trained on without", silent)
    if dataset.numbers is not None:
        for name, column in zip(dataset.number_names, dataset.numbers.T, strict=True):
            known = column[~np.isnan(column)]
            missing = f", missing for {n - len(known)} items" if len(known) < n else ""
            yield Finding(
                "note", f"conditioned on {name}, from {known.min():g} to {known.max():g}{missing}", len(known)
            )


def how_split(dataset: Dataset) -> Iterator[Finding]:
    """How many items are held out, and how many of those equal a training item by chance."""
    if len(dataset) < 2:
        return
    train, held = split(dataset)
    if not len(held):
        yield Finding("warning", "all items are of one group: none is held out to judge by")
    train_items = f"{len(train):,} item{'s' * (len(train) != 1)}"
    yield Finding("note", f"{train_items} to train on, {len(held):,} held out to judge by", len(held))
    if repeats_by_chance(dataset):
        first = dataset.first_copies
        if shared := int(np.isin(first[held], first[train]).sum()):
            yield Finding(
                "note", "held-out items equal a training item: few distinct values, so equal by chance", shared
            )
