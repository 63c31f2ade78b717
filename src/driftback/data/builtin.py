"""Built-in data by name: scikit-learn's handwritten digits, and shapes in the plane with their densities."""

from __future__ import annotations

from typing import Any

from driftback.data.dataset import Dataset
from driftback.data.reader import Options, Reader
from driftback.distributions.protocols import Density
from driftback.distributions.shapes2d import SHAPES
from driftback.errors import BadInput
from driftback.randomness import Rng

POINTS = 10_000


def names() -> tuple[str, ...]:
    """Every built-in name."""
    return ("digits", *sorted(SHAPES))


def accepts(source: Any) -> bool:
    """Whether `source` is a built-in name; "two_moons" and "Two Moons" are "two-moons"."""
    return isinstance(source, str) and plain(source) in names()


def read(source: str, options: Options) -> Dataset:
    """The digits (1797, 8, 8) with values 0..16, or `options.n` (10,000) points of a shape by `options.seed`."""
    name = plain(source)
    return _digits() if name == "digits" else _shape(name, options)


def plain(name: str) -> str:
    """A built-in name as it is listed: lower case, with hyphens."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    classes = tuple(map(str, digits.target_names))
    return Dataset(digits.images, digits.target.astype("int64"), "pictures", classes, name="digits")


def _shape(name: str, options: Options) -> Dataset:
    source = SHAPES[name]()
    count = POINTS if options.n is None else options.n
    if count < 1:
        raise BadInput(f"n must be at least 1, not {count}")
    points = source.sample(count, rng=Rng(options.seed).child("data")).numpy()
    density = source if isinstance(source, Density) else None
    columns = tuple("xyz"[: points.shape[1]]) if points.shape[1] <= 3 else ()
    return Dataset(points, columns=columns, name=name, density=density)


READER = Reader("a built-in name", accepts, read, frozenset({"n"}))
