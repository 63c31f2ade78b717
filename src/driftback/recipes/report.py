"""The report: one offline page that tells what was learned, how well, and how to go on, with every picture inside.

It draws nothing from the network and holds no script, so that it reads the same on any machine, years from now.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from driftback.data.dataset import Dataset
from driftback.evaluation.memorisation import COPIES
from driftback.evaluation.metric import ABOVE, INSIDE, MEMORISED, NOT_MEMORISED, Metric
from driftback.evaluation.metric import PER_CLASS as CLASSES
from driftback.files import write_text
from driftback.pictures.gallery import paired
from driftback.pictures.preview import on_white
from driftback.randomness import Rng
from driftback.recipes import figures
from driftback.recipes.conditions import Wanted
from driftback.recipes.describe import describe
from driftback.recipes.evaluate import BITS, Evaluation
from driftback.recipes.log import LOG, last_summary, read_log
from driftback.recipes.model import Model
from driftback.recipes.neighbours import neighbours
from driftback.training.health import Measurement, verdict

REPORT = "report.html"
TEMPLATE = "report.html.j2"
PER_CLASS = 10
MOST_CLASSES = 20
SHOWN = 64
"""Real items, and new ones, that are shown side by side."""
SUSPECTS = 20
"""New items that are shown with the training item nearest to them: copies, and those nearest to one."""
WIDE = 96
"""Pixels of such an item's shorter side: five pairs then fill the page, and their words stay legible."""

MEANINGS = {
    "sliced Wasserstein": "How far the new items must be moved, on average over directions, to become the real ones.",
    "energy distance": "A distance between the two clouds that sees any difference, given enough items.",
    "MMD": "The same question asked with a smooth kernel, more sensitive to fine detail.",
    "Fréchet distance, endless": "The number above without what few items add to it; below 0 by chance.",
    "Fréchet distance": "How far means and covariances of what the features see are apart; few items make it larger.",
    "kernel distance": "The same question about features, to the third moment, without a bias; below 0 by chance.",
    "FID": "The Fréchet distance of Inception's features; fewer samples make it larger than published ones.",
    "KID": "The kernel distance of Inception's features; below 0 by chance.",
    "classifier": "How well a classifier tells new from real: 0.5 is not at all, 1 is always.",
    "precision": "The share of new items that lie where real items are.",
    "recall": "The share of real items that new items come near to.",
    "density": "How deep inside the real cloud the new items lie; about 1 for real items.",
    "coverage": "The share of real items that have a new item next to them.",
    "gap of the means": "How far the averages of new and real items are apart.",
    "deviation ratio": "How widely new items spread, relative to real ones: below 1 is too narrow.",
    "copies": "The share of new items that are nearly a training item.",
    "closeness": "How often a new item is closer to the training items than a held-out one: 0.5 is chance.",
    "label agreement": "How often a classifier trained on real items sees the class that was asked for.",
    BITS: "What it costs to store one value of a held-out item with this model's help.",
}
"""What a metric means, by the beginning of its name."""
GOOD = (INSIDE, ABOVE, NOT_MEMORISED)


def write_report(folder: Path, model: Model, found: Evaluation, *, seed: int = 0) -> Path:
    """Write `folder/report.html` about the fitted `model` and its evaluation, whole or not at all; returns its path.

    The grid by class shows the items that `sample` draws with this `seed`.
    """
    history = [Measurement.from_json(record) for record in read_log(folder / LOG) if record.get("kind") == "levels"]
    # Attributes, because a dictionary's own `items` would hide the number of items from the template.
    facts, end = SimpleNamespace(**describe(folder)), last_summary(folder)
    health = verdict(history, ended=end is not None)
    shown = _pictures(model, found, seed) if model.config.preprocessing.kind == "pictures" else _points(model, found)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("driftback.recipes").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    page = template.render(
        facts=facts,
        seconds=None if end is None else end.seconds,
        health=health,
        healthy=health.text.startswith("healthy"),
        film=figures.film(folder / "previews"),
        losses=figures.losses(history) if history else None,
        metrics=[_row(m) for m in found.metrics if not m.name.startswith(CLASSES)],
        by_class=[_row(m) for m in found.metrics if m.name.startswith(CLASSES)],
        memorised=next((m for m in found.metrics if m.name.startswith(COPIES)), None),
        bits=_bits(model, found),
        folder=shlex.quote(str(folder)),
        first_class=shlex.quote(model.classes[0]) if model.classes else None,
        python_folder=repr(str(folder)),
        **shown,
    )
    write_text(folder / REPORT, page)
    return folder / REPORT


def _pictures(model: Model, found: Evaluation, seed: int) -> dict[str, Any]:
    prepared, real = model.config.preprocessing, _fresh(found)
    classes = model.classes[:MOST_CLASSES]
    asked = [name for name in classes for _ in range(PER_CLASS)]
    drawn = on_white(found.samples, prepared, found.bucket)
    new, bucket = drawn[: PER_CLASS**2], None
    if asked:
        new = model.sample(len(asked), label=np.array(asked), seed=seed)
        bucket = model.given(len(asked), Wanted(np.array(asked)), seed=seed).bucket
    some = Rng(seed).child("report").generator().permutation(len(real))[:SHOWN]
    shown = on_white(real.x[some], prepared, None if real.bucket is None else real.bucket[some])
    near = neighbours(model, found, SUSPECTS)
    return {
        "samples": figures.pictures(on_white(new, prepared, bucket), prepared, columns=PER_CLASS),
        "samples_about": f"one class per row: {', '.join(classes)}" if classes else _about(found, len(new)),
        "real": figures.pictures(shown, prepared, columns=8),
        "new": figures.pictures(drawn[:SHOWN], prepared, columns=8),
        "apart": None,
        "gallery": figures.png(
            paired(
                near.samples,
                near.nearest,
                near.words,
                prepared,
                least=WIDE,
                marked=np.flatnonzero(near.copies).tolist(),
            )
        ),
        "nearest": [],
    }


def _about(found: Evaluation, shown: int) -> str:
    """How many items are shown, and what the first row was drawn on."""
    if found.drawn_on is None or found.words is None:
        return f"{shown} of them"
    return f"{shown} of them ({found.drawn_on}), the first row on: {'; '.join(found.words[:PER_CLASS])}"


def _points(model: Model, found: Evaluation) -> dict[str, Any]:
    real = _fresh(found).x
    names = model.config.preprocessing.columns or tuple(f"column {j}" for j in range(real.shape[1]))
    together, apart = figures.points(real[: len(found.samples)], found.samples, names)
    near = neighbours(model, found, SUSPECTS)
    about = "over real ones" if len(names) <= 2 else f"over real ones, columns {names[0]} and {names[1]}"
    return {
        "samples": together,
        "samples_about": about,
        "real": None,
        "new": None,
        "apart": apart,
        "gallery": None,
        "nearest": [
            (_numbers(a), _numbers(b), f"{d:.3g}", "–" if np.isnan(f) else f"{f:.2f}", f"{r:.2f}")
            for a, b, d, f, r in zip(near.samples, near.nearest, near.distance, near.relative, near.ratio, strict=True)
        ],
    }


def _fresh(found: Evaluation) -> Dataset:
    return found.real.train if found.real.held is None else found.real.held


def _row(metric: Metric) -> dict[str, Any]:
    meaning = next((text for start, text in MEANINGS.items() if metric.name.startswith(start)), "")
    said = metric.verdict.partition(",")[0]
    tone = "bad" if said == MEMORISED else "good" if said in GOOD else "plain" if metric.floor_low is None else "off"
    return {"metric": metric, "meaning": meaning, "tone": tone, "gauge": _gauge(metric)}


def _gauge(metric: Metric) -> dict[str, float] | None:
    """Where value, interval and floor lie between 2 and 98 on one line; None where a number is missing."""
    ends = (metric.value, metric.low, metric.high, metric.floor_low, metric.floor_high)
    known = [end for end in ends if end is not None and math.isfinite(end)]
    if len(known) < len(ends) or max(known) == min(known):
        return None
    least, most = min(known), max(known)
    keys = ("value", "low", "high", "floor_low", "floor_high")
    return {key: 2 + 96 * (end - least) / (most - least) for key, end in zip(keys, known, strict=True)}


def _bits(model: Model, found: Evaluation) -> dict[str, float] | None:
    """The measured bits per dimension and what to hold them against."""
    measured = next((m for m in found.metrics if m.name == BITS), None)
    grid = model.config.preprocessing.levels
    if measured is None or measured.value is None or grid is None or found.real.held is None:
        return None
    levels = np.asarray(grid.values)
    train, held = (_index(levels, np.asarray(d.x)) for d in (found.real.train, found.real.held))
    classes = model.classes
    pooled = np.stack([(train == k).sum(0) for k in range(len(levels))]) + 0.5
    pooled = pooled / pooled.sum(0)
    prepared, cost = model.config.preprocessing, []
    groups = [prepared.labels(data) if classes else None for data in (found.real.train, found.real.held)]
    for k in range(max(1, len(classes))):
        # The histogram of all classes weighs as much as twenty items of one, as in the training's start.
        seen, asked = ((x if g is None else x[g == k]) for x, g in zip((train, held), groups, strict=True))
        counts = np.stack([(seen == v).sum(0) for v in range(len(levels))]) + 20 * pooled
        cost.append(-np.log2(np.take_along_axis(counts / counts.sum(0), asked, 0)))
    return {
        "value": measured.value,
        "half": 0.0 if measured.high is None else measured.high - measured.value,
        "levels": len(levels),
        "uniform": math.log2(len(levels)),
        "histogram": float(np.concatenate(cost).mean()),
        "given_class": len(classes),
        "of_class": math.log2(max(1, len(classes))) / math.prod(prepared.event),
    }


def _index(levels: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.rint((x.astype(np.float64) - levels[0]) / (levels[1] - levels[0])).astype(np.int64)


def _numbers(row: Sequence[float] | np.ndarray) -> str:
    first = ", ".join(f"{value:.3g}" for value in row[:6])
    return first + (" ..." if len(row) > 6 else "")
