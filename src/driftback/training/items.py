"""Encoded items to train on: held as one tensor, or, where they lie on the disk, encoded as they are asked for.

Either way `at(index)` gives the same numbers, so that a training does not depend on where its data lie.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from driftback.data.rows import Rows, Stack

BLOCK = 1 << 22
"""Numbers that are encoded at once where all items are gone through."""


@dataclass(frozen=True, eq=False)
class Items:
    """`n` items of shape `event`, float32, with the class of each, `label` (n,) int64, or None.

    `at(index)` gives the items with these indices, (k, *event).
    """

    n: int
    event: tuple[int, ...]
    at: Callable[[Tensor], Tensor] = field(repr=False)
    label: Tensor | None = None
    held: Tensor | None = field(default=None, repr=False)
    """All items, where they are held in memory."""
    done: Tensor | None = None
    """What was done to each before training, which the network is told, (n, numbers) float32, or None."""

    def __len__(self) -> int:
        return self.n

    @classmethod
    def of(cls, x0: Tensor, label: Tensor | None = None, done: Tensor | None = None) -> Self:
        """Items that are a tensor (n, *event) already."""
        return cls(len(x0), tuple(x0.shape[1:]), lambda index: x0[index], label, x0, done)

    @classmethod
    def encoded(
        cls, x: Stack, encode: Callable[[Stack], Tensor], label: Tensor | None = None, done: Tensor | None = None
    ) -> Self:
        """The items that `encode` makes of `x` (n, *raw event); those that lie on the disk are left there."""
        if not isinstance(x, Rows):
            return cls.of(encode(x), label, done)
        return cls(len(x), tuple(encode(x[:1]).shape[1:]), lambda index: encode(x[index.numpy()]), label, None, done)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items (k, *event) and their classes (k,)."""
        return self.at(index), None if self.label is None else self.label[index]

    def parts(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All items and their classes in their order, block by block."""
        step = max(1, BLOCK // max(1, math.prod(self.event)))
        for first in range(0, self.n, step):
            yield self.take(torch.arange(first, min(first + step, self.n)))

    def mean(self) -> float:
        """The mean of all numbers together."""
        sums = [(float(part.double().sum()), part.numel()) for part, _ in self.parts()]
        return sum(total for total, _ in sums) / sum(count for _, count in sums)

    def spread(self) -> float:
        """The standard deviation of all numbers together."""
        if self.held is not None:
            return float(self.held.double().std())
        count, mean, square = 0, 0.0, 0.0
        for part, _ in self.parts():
            x = part.double()
            # The sums of squares of two parts, each about its own mean (Chan, Golub and LeVeque 1983).
            far, size = float(x.mean()) - mean, x.numel()
            square += float((x - x.mean()).square().sum()) + far**2 * count * size / (count + size)
            mean += far * size / (count + size)
            count += size
        return math.sqrt(square / (count - 1))

    def fingerprint(self, told: Tensor | None = None) -> str:
        """The SHA-256 of the items (n, *event), of what is `told` of them (n, ...), by default their classes (n,), and
        of what was done to them.
        """
        told = self.label if told is None else told
        digest = hashlib.sha256()
        for part, _ in self.parts():
            digest.update(part.contiguous().numpy().data)
        for tensor in (told, self.done):
            digest.update(b"" if tensor is None else tensor.numpy().tobytes())
        return digest.hexdigest()
