"""What goes with the items and is not drawn: captions, numbers to condition on, and groups that a split keeps together.

They come as arrays beside the items, or as names of arrays in the file that holds them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftback.data.dataset import Dataset, as_labels
from driftback.data.reader import Options, is_path
from driftback.errors import BadInput


def beside(dataset: Dataset, *, caption: Any = None, numbers: Any = None, group: Any = None) -> Dataset:
    """`dataset` with sentences (n,), numbers (n,) or (n, k) (or a dict of names and (n,)), and groups (n,).

    Raises BadInput for another length, numbers that are words or infinite, and captions without a word.
    """
    if caption is not None:
        dataset = replace(dataset, captions=_sentences(caption, len(dataset)))
    if numbers is not None:
        names, values = _numbers(numbers, len(dataset))
        dataset = replace(dataset, numbers=values, number_names=names)
    if group is not None:
        dataset = replace(dataset, groups=as_labels(group, len(dataset))[0])
    return dataset


def names_in(given: Any) -> tuple[str, ...] | None:
    """`given` as names of arrays: one name, several with commas between them, or a sequence of names; else None."""
    if is_path(given):
        return tuple(name.strip() for name in str(given).split(","))
    named = isinstance(given, Sequence) and len(given) > 0 and all(isinstance(one, str) for one in given)
    return tuple(given) if named else None


def named_and_given(captions: Any, numbers: Any, groups: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What can be read again by its name, and what is given in memory, each as `driftback.data.load` takes it."""
    told = {"caption": captions, "numbers": numbers, "group": groups}
    named = {"numbers": names_in(numbers)} | {name: told[name] for name in ("caption", "group") if is_path(told[name])}
    named = {name: value for name, value in named.items() if value is not None}
    return named, {name: value for name, value in told.items() if name not in named and value is not None}


def as_known(arrays: Mapping[str, np.ndarray], options: Options) -> Options:
    """`options` with the captions and numbers that a model knows by name, where `arrays` has them."""
    alike = options.alike
    if alike is None:
        return options
    caption = alike.caption if alike.caption in arrays else None
    numbers = alike.numbers if alike.numbers and all(name in arrays for name in alike.numbers) else None
    return replace(options, caption=options.caption or caption, numbers=options.numbers or numbers)


def named_of(arrays: Mapping[str, np.ndarray], options: Options, path: Path | str) -> tuple[str, ...]:
    """The arrays, or columns, that `options` names besides items and labels. Raises BadInput for unknown names."""
    named = (options.caption, *(options.numbers or ()), options.group)
    wanted = tuple(name for name in named if name is not None)
    for name in wanted:
        if name not in arrays:
            near = difflib.get_close_matches(name, list(arrays), 1)
            hint = f"did you mean {near[0]}? " if near else ""
            held = ", ".join(arrays) or "one array without a name (save several as .npz)"
            raise BadInput(f"{path} has nothing named {name}: {hint}it holds {held}")
    return wanted


def fractions(y: Any) -> Any:
    """`y` itself if it holds fractions, as the target of a regression does, else None."""
    values = np.asarray(y.detach().cpu().numpy() if hasattr(y, "detach") else y)
    if values.dtype.kind != "f" or not values.size or not np.isfinite(values).all():
        return None
    return y if (values != np.round(values)).any() else None


def _sentences(given: Any, n: int) -> tuple[str, ...]:
    if getattr(getattr(given, "dtype", None), "kind", "U") in "biufc":
        raise BadInput(f"captions must be sentences, not {given.dtype}: give numbers as numbers")
    if not hasattr(given, "tolist") and not isinstance(given, Iterable):
        raise BadInput(f"captions are sentences, one per item, not {given!r}")
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    if len(values) != n or any(isinstance(one, list | tuple) for one in values):
        raise BadInput(f"there are {len(values)} captions for {n} items: give one sentence per item")
    said = tuple("" if one is None or one != one else " ".join(_text(one).split()) for one in values)
    if not any(said):
        raise BadInput("no caption says a word: leave the captions out, or give sentences")
    return said


def _text(one: Any) -> str:
    return one.decode(errors="replace") if isinstance(one, bytes) else str(one)


def _numbers(given: Any, n: int) -> tuple[tuple[str, ...], np.ndarray]:
    columns = given if isinstance(given, Mapping) else None
    if columns is not None:
        lengths = {name: np.shape(column) for name, column in columns.items()}
        if wrong := [name for name, shape in lengths.items() if shape != (n,)]:
            raise BadInput(f"the numbers {wrong[0]} have shape {lengths[wrong[0]]}, but there are {n} items: give (n,)")
        given = np.stack([np.asarray(column) for column in columns.values()], 1)
    names = tuple(map(str, getattr(given, "columns", ()))) or (
        (str(given.name),) if getattr(given, "name", None) else ()
    )
    values = np.asarray(given.detach().cpu().numpy() if hasattr(given, "detach") else given)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n or not values.shape[1]:
        raise BadInput(f"numbers have shape {values.shape}, but there are {n} items: give (n,) or (n, k)")
    if values.dtype.kind not in "biuf":
        raise BadInput(f"numbers to condition on must be numbers, not {values.dtype}")
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise BadInput(f"{int(np.isinf(values).sum())} numbers to condition on are infinite: drop or mend these items")
    names = tuple(columns or ()) or names or (("y",) if values.shape[1] == 1 else _numbered(values.shape[1]))
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known) or known.min() == known.max():
            what = f"is {known[0]:g} for all items" if len(known) else "is missing for all items"
            raise BadInput(f"the number {name} {what}, so there is nothing to condition on: leave it out")
    return names, values


def _numbered(k: int) -> tuple[str, ...]:
    return tuple(f"y{j}" for j in range(k))
