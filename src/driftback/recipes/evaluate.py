"""How good is a fitted model: draw from it, and judge what it draws against items that it has never seen.

Distances are taken between encoded items, flattened: every column, and every pixel, then counts alike. The real items
are read again from where the model's data came from, and a fingerprint tells whether they are still the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import whole
from driftback.data import builtin
from driftback.data.dataset import Dataset
from driftback.data.loading import load as load_data
from driftback.data.rows import Rows, Stack, blocks
from driftback.data.split import repeats_by_chance, split
from driftback.errors import BadInput, DriftbackError
from driftback.evaluation.features.named import AUTO
from driftback.evaluation.judge import judge
from driftback.evaluation.memorisation import CLOSENESS, COPIES, ENOUGH
from driftback.evaluation.metric import UNKNOWN, Metric
from driftback.evaluation.moments import diagnose
from driftback.files import write_text
from driftback.recipes import buckets, conditions
from driftback.recipes import config as configs
from driftback.recipes.config import Config
from driftback.recipes.featured import Features, Judge, kind_of
from driftback.recipes.log import last_summary
from driftback.recipes.model import Model
from driftback.recipes.streamed import MOST_HELD, MOST_TRAIN, MOST_TYPICAL, nearest, part_of
from driftback.recipes.way_back import Asked
from driftback.training.items import Items

EVALUATION = "evaluation.json"
BITS = "held-out bits per dimension"


@dataclass(frozen=True)
class RealItems:
    """What a model is judged against: the items it was trained on, and others like them."""

    train: Dataset
    held: Dataset | None
    left_out: int = 0
    """How many items were left out because the model was trained on them."""
    known: bool = True
    """Whether `train` is what the model was trained on; else other items stand for it, and copies cannot be seen."""
    searched: Dataset | None = None
    """Where `train` is a part of the training items: those nearest to samples, held-out items and `typical` ones, of
    all of them.
    """
    typical: Dataset | None = None
    """... and some of `train`, by which training items are compared with one another."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The measurements, and what they rest on: raw samples (n, *event), their classes (n,) or None, real items."""

    metrics: tuple[Metric, ...]
    samples: np.ndarray
    labels: np.ndarray | None
    real: RealItems
    diagnosis: str | None = None
    """A sentence on why the samples are grey, black or noisy, if they are."""
    drawn_on: str | None = None
    """Whose captions or numbers the samples were drawn on; None for models without."""
    words: tuple[str, ...] | None = None
    """What each sample was drawn on, in words."""
    bucket: np.ndarray | None = None
    """The bucket of each sample, (n,); None for a model without."""

    def __repr__(self) -> str:
        shown = ((m.name, "-" if m.value is None else f"{m.value:.3g}", m.verdict) for m in self.metrics)
        return "\n".join(f"{name:<52}{value:>9}  {verdict}" for name, value, verdict in shown)


def original(config: Config) -> RealItems:
    """The training and held-out items of a model, read again. Raises BadInput if they are gone or have changed."""
    if config.source is None:
        raise BadInput("this model was fitted on data in memory; give DATA to compare it with")
    try:
        found = _own(config, _read(config.source, config.reading))
    except DriftbackError as error:
        raise BadInput(f"cannot read {config.source} again ({error}); give DATA to compare with") from error
    if found is None:
        raise BadInput(f"{config.source} has changed since the model was fitted on it; give DATA to compare with")
    return found


def _own(config: Config, dataset: Dataset) -> RealItems | None:
    """`dataset` as the training and held-out items of the model, or None if it was fitted on other data."""
    train, held = (dataset.take(index) for index in split(dataset, config.held_out_share))
    conditional = config.condition is not None or config.class_counts
    label = conditions.of(config.condition, train) if conditional else None
    told = conditions.identity(config.condition, train, label)
    items = Items.encoded(train.x, config.preprocessing.encode, label, buckets.done(train))
    if items.fingerprint(told) != config.fingerprint:
        return None
    return RealItems(train, held if len(held) else None)


def like(config: Config, source: str, **reading: Any) -> Dataset:
    """Other data, read as the model's own were unless `reading` says otherwise; columns are matched by name."""
    # What names columns and labels is in `alike`, which does not insist on labels that new data may well lack.
    recorded = {name: value for name, value in config.reading.items() if name in ("size", "channels", "aspect")}
    if not reading and not builtin.accepts(source) and Path(source).expanduser().is_dir():
        reading = recorded
    return _read(source, reading | {"alike": config.alike})


def _read(source: str, reading: Mapping[str, Any]) -> Dataset:
    # JSON has no tuples.
    options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in reading.items()}
    return load_data(source, options.pop("y", None), **options)


def real_items(config: Config, data: Dataset | None) -> RealItems:
    """The model's own items; or `data` in place of the held-out ones, and of all where its own cannot be read again.

    Items of `data` that the model was trained on are left out: beside copies of themselves nothing looks memorised.
    Raises BadInput where fewer than 20 are left: none are taken from elsewhere to make up for them.
    """
    if data is None:
        return original(config)
    if len(data) < ENOUGH:
        raise BadInput(f"{data.name} has {len(data)} items, too few to judge by; give at least {ENOUGH}, better 1000")
    try:
        own = original(config)
    except BadInput:
        # What was in memory when the model was fitted may be the very data that is given now.
        with suppress(DriftbackError):
            if found := _own(config, data):
                return found
        return RealItems(data, None, known=False)
    if repeats_by_chance(data):
        return RealItems(own.train, data)
    encode = config.preprocessing.encode
    known = set(_marks(encode, own.train.x))
    new = np.array([mark not in known for mark in _marks(encode, data.x)])
    if new.sum() < ENOUGH:
        raise BadInput(
            f"only {int(new.sum())} of the {len(data)} items of {data.name} are new to the model, which was trained on "
            f"the others; give at least {ENOUGH} new ones"
            + (", or leave DATA out to judge by the held-out items" if own.held is not None else "")
        )
    return RealItems(own.train, data.take(np.flatnonzero(new)), int((~new).sum()))


def _marks(encode: Callable[[Any], Tensor], x: Stack) -> list[bytes]:
    """What tells items from one another, as the model sees them."""
    return [sha256(item.tobytes()).digest()[:16] for part in blocks(x) for item in encode(x[part]).numpy()]


def evaluate(
    model: Model,
    data: Any = None,
    *,
    n: int | None = None,
    seed: int = 0,
    features: Features = AUTO,
    fid_weights: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Draw `n` samples (default 1,000, or 2,000 points) and judge them (`driftback.evaluation.judge`).

    `data` takes the place of the held-out items, which are the default: anything that `fit` takes, or `RealItems`.
    Pictures are judged in `features` too: those called 'auto' (a network's with the extra `features`, else a
    dictionary of patches) or by another name, or those of a function that gets items as the model draws them and
    returns (n, d); None for none. 'inception', or `fid_weights`, a file with its weights, gives FID and KID.
    Where pictures are in buckets, samples get those of the held-out items.
    Raises BadInput for fewer than 20 samples or 10 real items, and for items that the model does not know.
    """
    prepared, alike = model.config.preprocessing, model.config.alike
    if isinstance(data, RealItems):
        real = data
    else:
        real = real_items(model.config, None if data is None else load_data(data, alike=alike))
    n = whole(n, "n", 1) if n is not None else (2000 if len(prepared.internal_event) == 1 else 1000)
    if n < 20:
        raise BadInput(f"{n} samples say nothing reliable; ask for at least 20, better 1000")
    # Features and real items that cannot be had are refused before any time is spent on drawing.
    kind = kind_of(features, prepared, fid_weights)
    if real.held is not None:
        real = replace(real, held=part_of(real.held, MOST_HELD, seed))
    held, everything = None if real.held is None else _flat(model, real.held), real.train
    streamed = isinstance(everything.x, Rows)
    if streamed:
        real = replace(real, train=part_of(everything, MOST_TRAIN, seed))
    known = _flat(model, real.train)
    judged = None if kind is None else Judge.of(kind, prepared, known)
    wanted = conditions.picked(model.config, real.train if real.held is None else real.held, n, seed)
    if wanted is None:
        samples = model.sample(n, seed=seed, progress=progress)
    else:  # words that are new to the model are no surprise here, and no reason to warn
        samples = model.draw(n, Asked(), wanted=wanted, seed=seed, progress=progress).x
    given = model.given(n, wanted, seed=seed)
    labels = given.rows if model.classes else None
    drawn = prepared.encode(samples).flatten(1).numpy()
    searched = typical = None
    if streamed:
        some = part_of(real.train, MOST_TYPICAL, seed, always=True)
        typical = _flat(model, some)
        told = [drawn, *([] if held is None else [held]), typical]
        near = everything.take(nearest(everything, prepared.encode, torch.from_numpy(np.vstack(told))))
        real, searched = replace(real, typical=some, searched=near), _flat(model, near)
    names = {
        "sample_labels": _names(model, labels),
        "train_labels": _names(model, prepared.labels(real.train)),
        "held_labels": None if real.held is None else _names(model, prepared.labels(real.held)),
    }
    metrics = judge(drawn, known, held, **names, searched=searched, typical=typical, rng=seed)
    if judged is not None:
        metrics += judged(drawn, known, held, labels=names, seed=seed)
    if not real.known:
        metrics = [_untold(metric) for metric in metrics]
    cause = diagnose(drawn.astype(np.float64), (known if held is None else held).astype(np.float64))
    drawn_on = conditions.drawn_on(model.config, wanted, held=real.held is not None)
    return Evaluation(tuple(metrics), samples, labels, real, cause, drawn_on, given.words, given.bucket)


def _untold(metric: Metric) -> Metric:
    """A measurement of copies without its verdict, for what they would be copies of is not known."""
    if not metric.name.startswith((COPIES, CLOSENESS)):
        return metric
    return replace(metric, floor_low=None, floor_high=None, verdict=UNKNOWN)


def _flat(model: Model, items: Dataset) -> np.ndarray:
    return model.config.preprocessing.encode(items.x).flatten(1).numpy()


def recorded_bits(folder: Path) -> Metric | None:
    """The held-out bits per dimension that the end of the fit measured, as a metric with its 95 % interval."""
    end = last_summary(folder)
    if end is None or end.bits_per_dim is None:
        return None
    value, error = end.bits_per_dim, end.bits_per_dim_se
    used = min(end.held_out, configs.read(folder).judging.judged)
    low, high = (None, None) if error is None else (value - 1.96 * error, value + 1.96 * error)
    return Metric(BITS, value, low, high, None, None, used, "lower is better, no floor")


def write_evaluation(folder: Path, metrics: tuple[Metric, ...]) -> None:
    """Write the metrics to `folder/evaluation.json`, whole or not at all."""
    write_text(folder / EVALUATION, json.dumps({"metrics": [m.as_json() for m in metrics]}, indent=2) + "\n")


def _names(model: Model, codes: np.ndarray | None) -> np.ndarray | None:
    return None if codes is None or not model.classes else np.array(model.classes)[codes]
