"""Which training item is each sample nearest to, and is it nearer than a fresh item would be?

The distance is told in units of the floor, the median distance of held-out items to their nearest training item, so
that 1 is what new items have; below it, samples are nearer than that. Copies, by the ratio of nearest to second
nearest (`driftback.evaluation.memorisation`), come first, then the others, the nearest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftback.errors import BadInput
from driftback.evaluation.memorisation import ENOUGH, RATIO, left_out, nearest_two
from driftback.evaluation.points import points
from driftback.files import writing
from driftback.pictures.gallery import paired
from driftback.pictures.preview import on_white
from driftback.randomness import Rng
from driftback.recipes.evaluate import Evaluation
from driftback.recipes.model import Model

SEARCHED = 2_000
"""Samples whose neighbours are looked for."""
SHOWN = 60
"""Pairs in a gallery of its own."""


@dataclass(frozen=True)
class Neighbours:
    """Raw samples (n, *event) with their nearest training items, suspects first, white outside of their buckets."""

    samples: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray
    """(n,) in units of the encoded items."""
    relative: np.ndarray
    """(n,) over the floor: 1 is as far as half of all fresh items are, 0 an exact copy; NaN where the floor is 0."""
    ratio: np.ndarray
    """(n,) nearest over second nearest; below 1/3 is a copy."""

    @property
    def copies(self) -> np.ndarray:
        """(n,) whether each is a copy."""
        return self.ratio < RATIO

    @property
    def words(self) -> list[str]:
        """A line about each."""
        told = np.where(np.isnan(self.relative), self.distance, self.relative)
        return [f"{value:.2f}{' copy' if copy else ''}" for value, copy in zip(told, self.copies, strict=True)]


def neighbours(model: Model, found: Evaluation, most: int | None = None) -> Neighbours:
    """The neighbours of the evaluated samples among the training items, at most `most` (default: all)."""
    encode = model.config.preprocessing.encode
    new = found.samples[:SEARCHED]
    # Of items that stay on the disk, those nearest to any sample or held-out item were looked up among all.
    train = found.real.train if found.real.searched is None else found.real.searched
    known = points(encode(train.x))
    nearest, distance, ratio = nearest_two(points(encode(new)), known)
    held = found.real.held
    if held is not None and len(held) >= ENOUGH:
        # Data often come ordered by class.
        some = Rng(0).child("neighbours").generator().permutation(len(held))[:SEARCHED]
        fresh = nearest_two(points(encode(held.x[some])), known)[1]
    else:
        typical = found.real.typical
        fresh = left_out(known, None if typical is None else points(encode(typical.x)))[0]
    floor = float(np.median(fresh))
    relative = distance / floor if floor > 0 else np.full(len(distance), np.nan)
    order = np.lexsort((distance, ratio >= RATIO))[:most]
    prepared, which = model.config.preprocessing, nearest[order]
    shown = on_white(new[order], prepared, None if found.bucket is None else found.bucket[:SEARCHED][order])
    beside = on_white(train.x[which], prepared, None if train.bucket is None else train.bucket[which])
    return Neighbours(shown, beside, distance[order], relative[order], ratio[order])


def refuse_points(model: Model) -> None:
    """BadInput for a model of points, before anything is drawn."""
    if model.config.preprocessing.kind != "pictures":
        raise BadInput("a gallery shows pictures, and these are points; --report has a table of their neighbours")


def write_gallery(path: Path, model: Model, found: Evaluation) -> Neighbours:
    """Write the suspects beside their nearest training pictures to the PNG file `path`, whole or not at all.

    BadInput for points, which have no pictures.
    """
    refuse_points(model)
    prepared = model.config.preprocessing
    near = neighbours(model, found, SHOWN)
    sheet = paired(near.samples, near.nearest, near.words, prepared, marked=np.flatnonzero(near.copies).tolist())
    with writing(path) as temporary:
        sheet.save(temporary, format="PNG")
    return near
