"""Numbers to condition on: how they are standardised, the range and the law of those that a model was trained on.

The network is given (y - mean) / deviation; a number that is not known is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from driftback.data.dataset import Dataset
from driftback.errors import BadInput
from driftback.networks.embedding import MakeEncoder
from driftback.networks.numbers import NumberEncoder
from driftback.randomness import Rng
from driftback.recipes.classes import uniform

MOST = 2_000
"""So many rows of the training data are kept, for a model to draw from when it is not asked for any."""

NAMELESS = re.compile(r"y\d*")
"""What numbers without names are called."""

Numeric = Annotated[
    tuple[float, ...],
    BeforeValidator(lambda v: tuple(map(float, v.split())) if isinstance(v, str) else v),
    PlainSerializer(lambda v: " ".join(map(repr, v))),
]
"""Numbers, NaN among them; one string in a file, where JSON has no NaN."""


class Numbers(BaseModel):
    """The numbers of a training by `names` (k,): their mean, deviation and range, and some rows of them, flattened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["numbers"] = "numbers"
    names: tuple[str, ...] = Field(min_length=1)
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seen: Numeric

    argument: ClassVar[str] = "value"
    what: ClassVar[str] = "numbers"

    @property
    def column(self) -> str:
        """What a column that holds them is called."""
        return " ".join(self.names)

    @classmethod
    def learn(cls, numbers: np.ndarray, names: Sequence[str]) -> Numbers:
        """What `numbers` (n, k), NaN where one is missing, say. Raises BadInput for one that never changes."""
        for name, column in zip(names, numbers.T, strict=True):
            known = column[~np.isnan(column)]
            if not len(known) or known.min() == known.max():
                raise BadInput(f"the number {name} never changes in the training items: leave it out")
        some = numbers
        if len(some) > MOST:
            some = some[np.sort(Rng(0).child("numbers").generator().permutation(len(some))[:MOST])]
        return cls(
            names=tuple(names),
            mean=tuple(np.nanmean(numbers, 0).tolist()),
            deviation=tuple(np.nanstd(numbers, 0).tolist()),
            low=tuple(np.nanmin(numbers, 0).tolist()),
            high=tuple(np.nanmax(numbers, 0).tolist()),
            seen=tuple(some.flatten().tolist()),
        )

    def network(self) -> MakeEncoder:
        """What makes the encoder of a network."""
        count = len(self.names)
        return lambda width: NumberEncoder(count, width)

    def rows(self, told: np.ndarray) -> np.ndarray:
        """What the network reads of numbers (n, k): standardised, float32."""
        return ((told - np.array(self.mean)) / np.array(self.deviation)).astype(np.float32)

    def words(self, told: np.ndarray) -> tuple[str, ...]:
        """Numbers for people: alone, or each with its name."""
        if len(self.names) == 1:
            return tuple(f"{value:.6g}" for value in told[:, 0])
        return tuple(", ".join(f"{a}={v:.6g}" for a, v in zip(self.names, row, strict=True)) for row in told)

    def columns(self, told: np.ndarray) -> dict[str, np.ndarray]:
        """The numbers (n,) by their names."""
        return {name: told[:, j] for j, name in enumerate(self.names)}

    def told(self, asked: Any, n: int) -> np.ndarray:
        """One number, one each (n,), k each (n, k), or a dict of those by name, as numbers (n, k) float64."""
        if isinstance(asked, Mapping):
            if strange := [name for name in asked if name not in self.names]:
                raise BadInput(f"this model knows no number {strange[0]}; it knows {', '.join(self.names)}")
            if missing := [name for name in self.names if name not in asked]:
                raise BadInput(f"{missing[0]} is not given: this model is asked by {', '.join(self.names)} together")
            asked = [asked[name] for name in self.names]
            try:
                asked = np.stack([np.broadcast_to(np.asarray(one, np.float64), (n,)) for one in asked], 1)
            except (TypeError, ValueError):
                raise BadInput(f"each of {', '.join(self.names)} is one number, or one for each of {n} items") from None
        try:
            values = np.asarray(asked, np.float64)
        except (TypeError, ValueError):
            raise BadInput(f"a value is a number, not {asked!r}") from None
        k = len(self.names)
        values = values.reshape(-1, 1) if values.ndim == 1 and k == 1 else values
        if k > 1 and (values.ndim == 0 or values.shape[-1] == 1):
            raise BadInput(f"this model is asked by {k} numbers, {', '.join(self.names)}: give each by its name")
        try:
            values = np.broadcast_to(values, (n, k))
        except ValueError:
            raise BadInput(f"values of shape {values.shape} were given for {n} items with {k} number(s) each") from None
        if np.isinf(values).any():
            raise BadInput("a value is infinite; give a number near those of the training data")
        return values

    def drawn(self, n: int, seed: int) -> np.ndarray:
        """Numbers (n, k), each row one of the training data."""
        rows = np.array(self.seen).reshape(-1, len(self.names))
        return rows[np.minimum((uniform(n, seed, "number") * len(rows)).astype(np.int64), len(rows) - 1)]

    def doubts(self, told: np.ndarray) -> tuple[str, ...]:
        """A line for each number that is asked for outside the training range."""
        said = []
        for name, column, low, high in zip(self.names, told.T, self.low, self.high, strict=True):
            if len(outside := column[(column < low) | (column > high)]):
                said.append(f"{name} = {outside[0]:g} is outside the {low:g} .. {high:g} that the model has seen")
        return tuple(said)

    def beside(self, dataset: Dataset) -> np.ndarray | None:
        """The numbers of a dataset, by their names where both have any; None where there are not as many. Raises
        BadInput for others than the model knows.
        """
        numbers, names = dataset.numbers, dataset.number_names
        if numbers is None or numbers.shape[1] != len(self.names):
            return None
        if set(names) == set(self.names):
            return numbers[:, [names.index(name) for name in self.names]]
        if any(NAMELESS.fullmatch(name) for name in (*names, *self.names)):
            return numbers
        raise BadInput(f"{dataset.name} has the numbers {', '.join(names)}; this model knows {', '.join(self.names)}")

    def take(self, told: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Those with these indices."""
        return told[index]

    def facts(self) -> list[str]:
        """What is known, in words."""
        return [f"{a} {low:g} .. {high:g}" for a, low, high in zip(self.names, self.low, self.high, strict=True)]
