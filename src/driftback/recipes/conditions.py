"""What a model's items can be asked by: classes, captions or numbers; here they become the rows that its network reads.

A model knows one kind, and, beside it, the shapes of pictures in buckets. Where nothing is asked for, both are drawn as
in the training data, one for each item of a seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from driftback.data.dataset import Dataset, Finding
from driftback.errors import BadInput
from driftback.networks.embedding import Encoder, MakeEncoder
from driftback.recipes import buckets, classes
from driftback.recipes.buckets import Shape
from driftback.recipes.captions import Captions
from driftback.recipes.classes import Label
from driftback.recipes.config import Config
from driftback.recipes.numbers import Numbers

Prompt = str | Sequence[str] | None
Value = float | Sequence[float] | np.ndarray | Mapping[str, Any] | None


class Condition(Protocol):
    """One kind of conditions: what is told for people becomes rows for the network. `argument` asks for it."""

    argument: ClassVar[str]
    what: ClassVar[str]

    def told(self, asked: Any, n: int) -> Any:
        """What is asked, one for all or one each, as what is told of `n` items. Raises BadInput."""

    def drawn(self, n: int, seed: int) -> Any:
        """What is told of the `n` items of a seed, drawn as in the training data."""

    def rows(self, told: Any) -> np.ndarray:
        """What the network reads of it, (n, *row)."""

    def words(self, told: Any) -> tuple[str, ...]:
        """What people read of it, (n,)."""

    def columns(self, told: Any) -> dict[str, Any]:
        """What is told of the items (n,), by the name that a file of samples gives it."""

    def doubts(self, told: Any) -> tuple[str, ...]:
        """A line for each thing in it that training has not seen."""

    def beside(self, dataset: Dataset) -> Any:
        """What a data set tells; None where it tells nothing of this kind."""

    def take(self, told: Any, index: np.ndarray) -> Any:
        """What is told of some of the items."""

    def network(self) -> MakeEncoder:
        """What makes the encoder of a network."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of new items: a class `label`, a sentence `prompt`, or numbers `value`, and the `shape` of their
    bucket, each one for all items or one per item; None where nothing is asked. Numbers may be `missing` (NaN) only
    where they are those of real items.
    """

    label: Label = None
    prompt: Prompt = None
    value: Value = None
    shape: Shape = None
    missing: bool = False

    @property
    def told(self) -> bool:
        """Whether a class, a caption or a number is asked for."""
        return any(one is not None for one in (self.label, self.prompt, self.value))


@dataclass(frozen=True, eq=False)
class Given:
    """What `n` items are drawn on: `rows` (n, ...) for the network, `words` (n,) for people, and what is to be `said`
    about it; None where the model knows no conditions. `bucket` (n,) is None where it knows no buckets. `columns` are
    the captions or numbers (n,) by name.
    """

    rows: np.ndarray | None
    words: tuple[str, ...] | None = None
    said: tuple[str, ...] = ()
    bucket: np.ndarray | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def beyond(self, first: int) -> tuple[tuple[str, ...], np.ndarray | None]:
        """The words and the buckets of the items from number `first` on; () and None where there are none."""
        return (self.words or ())[first:], None if self.bucket is None else self.bucket[first:]


def learn(dataset: Dataset, text_encoder: str | None = None) -> Captions | Numbers | None:
    """What the training items of `dataset` say beside them: captions, else numbers; None for neither.

    `text_encoder` is the name of what reads captions (default: trained). BadInput where there are none to read.
    """
    if dataset.captions is None and text_encoder is not None:
        raise BadInput("a text encoder reads captions, and there are none: leave it out, or name them (--caption)")
    if dataset.captions is not None and dataset.numbers is not None:
        raise BadInput("a model is conditioned on captions or on numbers, not on both: leave one out")
    if dataset.captions is not None:
        return Captions.learn(dataset.captions, text_encoder or "trained")
    if dataset.numbers is not None:
        return Numbers.learn(dataset.numbers, dataset.number_names)
    return None


def unused(condition: Condition | None, dataset: Dataset, *, asked: bool) -> tuple[Finding, ...]:
    """A warning where classes are not learned because captions or numbers are. BadInput where they were `asked` for."""
    if condition is None or dataset.y is None:
        return ()
    if asked:
        raise BadInput(f"a model is conditioned on classes or on {condition.what}, not on both: leave one out")
    return (Finding("warning", f"{len(dataset.classes)} classes are not learned: the model knows {condition.what}"),)


def given(config: Config, n: int, wanted: Wanted, seed: int) -> Given:
    """What each of `n` items of `seed` is drawn on. Raises BadInput for what the model does not know."""
    known: Condition | None = config.condition
    for argument in ("label", "prompt", "value"):
        if getattr(wanted, argument) is not None and (known is not None or argument != "label"):
            _refuse(argument, config)
    if known is None:
        rows = classes.drawn(config, n, wanted.label, seed)
        bucket = buckets.drawn(config, n, wanted.shape, seed, rows)
        names = None if rows is None else tuple(config.preprocessing.classes[k] for k in rows)
        return Given(rows, names, bucket=bucket)
    asked, bucket = getattr(wanted, known.argument), buckets.drawn(config, n, wanted.shape, seed, None)
    told = known.drawn(n, seed) if asked is None else known.told(asked, n)
    rows = known.rows(told)
    if wanted.value is not None and not wanted.missing and np.isnan(rows).any():
        raise BadInput("a value is no number (nan): give one near those of the training data, or leave the value out")
    doubts = () if asked is None else known.doubts(told)
    return Given(rows, known.words(told), doubts, bucket, known.columns(told))


def told_of(
    config: Config, given: Given, index: np.ndarray, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """What the network reads of the items with these numbers: their rows, and what was done to them; None for none."""
    rows = None if given.rows is None else torch.from_numpy(given.rows[index]).to(device)
    return rows, buckets.told(config, None if given.bucket is None else given.bucket[index], device)


def warned(given: Given) -> Given:
    """`given`, with a warning for each thing that the model has not seen."""
    for line in given.said:
        warnings.warn(line, stacklevel=3)
    return given


def _refuse(argument: str, config: Config) -> None:
    """Raise BadInput if the model is not asked by this argument, naming the one that it is."""
    known = config.condition
    if known is not None and argument == known.argument:
        return
    if known is not None:
        raise BadInput(f"this model knows {known.what}, so {argument} says nothing to it: give {known.argument}")
    knows = "classes: give label" if config.class_counts else "nothing to ask by"
    how = "captions" if argument == "prompt" else "numbers"
    raise BadInput(f"this model knows {knows}; to ask by {argument}, fit it on data with {how}")


def beside(config: Config, dataset: Dataset) -> Any:
    """What `dataset` says beside its items, as `given_to` takes it: classes by name, captions, or numbers; None where
    it says nothing that the model knows.
    """
    if config.condition is not None:
        return config.condition.beside(dataset)
    codes = config.preprocessing.labels(dataset) if config.class_counts else None
    return None if codes is None else [config.preprocessing.classes[k] for k in codes]


def given_to(config: Config, told: Any, n: int) -> np.ndarray:
    """The rows of what is told of `n` known items: classes by name or number, captions, or numbers (n,) or (n, k)."""
    known: Condition | None = config.condition
    return classes.numbers(config, told, n) if known is None else known.rows(known.told(told, n))


def of(condition: Condition | None, dataset: Dataset) -> Tensor | None:
    """The rows of a dataset that a model of `condition`, or of classes, is trained on; None where there are none."""
    if condition is not None:
        told = condition.beside(dataset)
        return None if told is None else torch.from_numpy(condition.rows(condition.told(told, len(dataset))))
    return torch.from_numpy(dataset.y) if dataset.y is not None and len(dataset.classes) > 1 else None


def class_counts(condition: Condition | None, rows: Tensor | None, classes: int) -> tuple[int, ...]:
    """How many items each class has; empty for a model of none."""
    return () if condition is not None or rows is None else tuple(rows.bincount(minlength=classes).tolist())


def features(condition: Condition | None) -> int:
    """How many numbers say what is told of an item to a linear map; 0 for classes, and where nothing is told."""
    if condition is None:
        return 0
    with torch.random.fork_rng(devices=[]):  # its weights are drawn, and thrown away
        return cast("Encoder", condition.network()(1)).features


def identity(condition: Condition | None, dataset: Dataset, rows: Tensor | None) -> Tensor | None:
    """What tells these conditions from others, the same on every machine."""
    if condition is None or dataset.captions is None:
        return rows
    return torch.from_numpy(np.frombuffer("\n".join(dataset.captions).encode(), np.uint8).copy())


def picked(config: Config, dataset: Dataset, n: int, seed: int) -> Wanted | None:
    """What to ask for to draw `n` items on the conditions and in the shapes of `dataset`, each drawn from it; None for
    classes alone, whose shares are those of the training data, and where it has none.
    """
    known: Condition | None = config.condition
    told = None if known is None else known.beside(dataset)
    shapes = None if config.preprocessing.buckets is None else dataset.shapes
    if told is None and shapes is None:
        return None
    u = classes.uniform(n, seed, "picked")
    some = np.minimum((u * len(dataset)).astype(np.int64), len(dataset) - 1)
    wanted = Wanted(shape=None if shapes is None else shapes[some], missing=True)
    if known is not None:
        return wanted if told is None else replace(wanted, **{known.argument: known.take(told, some)})
    # A class has its own shapes: both are those of one item.
    names = beside(config, dataset)
    return wanted if names is None else replace(wanted, label=[names[i] for i in some])


def drawn_on(config: Config, wanted: Wanted | None, *, held: bool) -> str | None:
    """A sentence on what samples that are judged were drawn on; None where it is what is always drawn."""
    known: Condition | None = config.condition
    whose = "the held-out items" if held else "the real items"
    shaped = wanted is not None and wanted.shape is not None
    if known is None:
        also = "classes and " if wanted is not None and wanted.label is not None else ""
        return f"the samples were drawn on the {also}shapes of {whose}" if shaped else None
    if wanted is None or getattr(wanted, known.argument) is None:
        also = f", and on the shapes of {whose}" if shaped else ""
        return f"the samples were drawn on the {known.what} of the training items, for the others have none{also}"
    return f"the samples were drawn on the {known.what}{' and shapes' if shaped else ''} of {whose}"
