"""Numbers and classes as vectors: sines and cosines of a number, a table row of a class, mixed by a small MLP.

The number's features are sin and cos of it at log-spaced frequencies (Vaswani et al. 2017, arXiv 1706.03762, section
3.5). A class is a row of a table, and the table's last row stands for 'no class' (Ho and Salimans 2022, arXiv
2207.12598).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conditioning(nn.Module):
    """A number (n,) and, when `classes` > 0, a class (n,) in [0, classes] become a vector (n, width).

    When `augment` > 0, so may as many numbers that say how an item was augmented, (n, augment): they are added by a
    matrix without an offset, so that none of them is the same as all of them at 0.
    """

    frequencies: Tensor

    def __init__(self, width: int, classes: int = 0, waves: int = 16, augment: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("frequencies", torch.logspace(0, 1.5, waves), persistent=False)
        self.number = nn.Sequential(nn.Linear(2 * waves + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        # A stream of its own lets all other weights start as they do without it. From zeros a short training learns it
        # too late: of 8 tiny ones, 2 drew a quarter and a half of their pictures mirrored, and none did from these.
        stream = torch.Generator().manual_seed(torch.initial_seed())
        self.augmented = nn.Parameter(torch.randn(width, augment, generator=stream)) if augment else None

    def forward(self, number: Tensor, label: Tensor | None = None, *, augmented: Tensor | None = None) -> Tensor:
        angles = number[:, None] * self.frequencies
        features = self.number(torch.cat([number[:, None], angles.sin(), angles.cos()], 1))
        if self.label is not None:
            if label is None:
                label = torch.full((len(number),), self.classes, device=number.device)
            features = features + self.label(label)
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
        if label is None:
            return self.table[-1].expand(n, *self.event)
        return self.table[label]
