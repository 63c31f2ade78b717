"""Noise levels and conditions as vectors: sines and cosines of a number, and an encoder's vector of what is given.

The number's features are sin and cos of it at log-spaced frequencies (Vaswani et al. 2017, arXiv 1706.03762, section
3.5). What is given, a class or something longer, is a row that an encoder turns into a vector; one row stands for
'nothing is given' (Ho and Salimans 2022, arXiv 2207.12598).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from driftback.errors import BadInput


class Encoder(Protocol):
    """What turns conditions, one row of shape `row` per item, into vectors. It is a module too."""

    row: tuple[int, ...]
    """The shape of what is given for one item: () for a class, (length,) for the tokens of a caption."""
    features: int
    """How many numbers say it to a linear map, as `described`; 0 for a class, which needs none."""

    def none(self, n: int, device: torch.device) -> Tensor:
        """`n` rows that give nothing, (n, *row)."""
        ...

    def dropped(self, y: Tensor, u: Tensor, share: float) -> Tensor:
        """The rows `y` (n, *row) as training has them, by uniform numbers `u` (n,): nothing given where u < share."""
        ...

    def refuse(self, y: Tensor) -> None:
        """Raise BadInput for rows (..., *row) that it does not know."""
        ...

    def described(self, y: Tensor) -> Tensor:
        """The features (n, features) of the rows (n, *row), all 0 where nothing is given."""
        ...

    def __call__(self, y: Tensor) -> Tensor:
        """Vectors (n, width) of the rows (n, *row)."""
        ...


MakeEncoder = Callable[[int], nn.Module]
"""An encoder of a width."""


class ClassTable(nn.Embedding):
    """A class (n,) in [0, classes] as a row of a table; the last row is that of 'no class'."""

    row: tuple[int, ...] = ()
    features = 0

    def __init__(self, classes: int, width: int) -> None:
        super().__init__(classes + 1, width)
        self.classes = classes

    def none(self, n: int, device: torch.device) -> Tensor:
        return torch.full((n,), self.classes, device=device)

    def dropped(self, y: Tensor, u: Tensor, share: float) -> Tensor:
        return torch.where(u < share, self.classes, y)

    def refuse(self, y: Tensor) -> None:
        if bool(((y < 0) | (y >= self.classes)).any()):
            last, known = self.classes - 1, self.classes
            raise BadInput(f"a class number outside 0 .. {last} was asked for; this model knows {known} classes")

    def described(self, y: Tensor) -> Tensor:
        return self.weight.new_zeros(len(y), 0)


class Conditioning(nn.Module):
    """A number (n,) and, with an encoder, what is given (n, *row) become a vector (n, width).

    The encoder is a table of `classes` classes where there are any, else what `encoder` makes of the width, if it is
    given. When `augment` > 0, so may as many numbers that say how an item was augmented, (n, augment): they are added
    by a matrix without an offset, so that none of them is the same as all of them at 0.
    """

    frequencies: Tensor

    def __init__(
        self,
        width: int,
        classes: int = 0,
        waves: int = 16,
        *,
        encoder: MakeEncoder | None = None,
        augment: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("frequencies", torch.logspace(0, 1.5, waves), persistent=False)
        self.number = nn.Sequential(nn.Linear(2 * waves + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.label: nn.Module | None
        # The name `label` is that of the weights of models that exist.
        self.label = ClassTable(classes, width) if classes else None if encoder is None else encoder(width)
        # A stream of its own lets all other weights start as they do without it. From zeros a short training learns it
        # too late: of 8 tiny ones, 2 drew a quarter and a half of their pictures mirrored, and none did from these.
        stream = torch.Generator().manual_seed(torch.initial_seed())
        self.augmented = nn.Parameter(torch.randn(width, augment, generator=stream)) if augment else None

    def forward(
        self,
        number: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        *,
        augmented: Tensor | None = None,
    ) -> Tensor:
        """(n, width); `vector` (n, width) is what the encoder says of `label`, where that is known already."""
        angles = number[:, None] * self.frequencies
        features = self.number(torch.cat([number[:, None], angles.sin(), angles.cos()], 1))
        if self.label is not None:
            if label is None:
                label = cast("Encoder", self.label).none(len(number), number.device)
            features = features + (self.label(label) if vector is None else vector)
        if augmented is not None and self.augmented is not None:
            features = features + augmented @ self.augmented.T
        return nn.functional.silu(features)


class ClassBias(nn.Module):
    """A table of outputs, one row per class and a last row for 'no class': what a network starts from.

    Filled from the data in closed form (a histogram), it lets training begin where a table of frequencies ends.
    """

    def __init__(self, event: tuple[int, ...], classes: int = 0) -> None:
        super().__init__()
        self.event = event
        self.classes = classes
        self.table = nn.Parameter(torch.zeros(classes + 1, *event))

    def forward(self, label: Tensor | None, n: int) -> Tensor:
        if label is None or not self.classes:
            return self.table[-1].expand(n, *self.event)
        return self.table[label]
