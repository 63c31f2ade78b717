"""Mild augmentation that does not leak: a picture is mirrored or moved, and the network is told how.

With x_0 replaced by A x_0, where the numbers a say which A, the network learns D(x; sigma, a), and samples are drawn
with a = 0, which says that nothing was done (Karras et al. 2022, arXiv 2206.00364, section 5 and appendix F.2). Values
are moved and never mixed, so that data on few levels keep their levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.arguments import near
from driftback.errors import BadInput


class Augmentation(Protocol):
    """A random change of pictures, each told by `numbers` numbers that are 0 where nothing was done."""

    @property
    def numbers(self) -> int: ...

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (n, c, h, w), and what was done to each, (n, numbers). `generator` is one of the CPU."""
        ...


@dataclass(frozen=True)
class Flip:
    """Left for right, for a `share` of the pictures; told by a 1. Not for what has a handedness, such as writing."""

    share: float = 0.5
    numbers: int = 1

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        done = torch.rand(len(x), generator=generator) < self.share
        mirrored = torch.where(done.to(x.device)[:, None, None, None], x.flip(-1), x)
        return mirrored, done[:, None].to(x)


@dataclass(frozen=True)
class Shift:
    """Moved by whole pixels, at most `reach` of a side and at least one, for a `share` of the pictures; edges repeat.

    Told by how far down and to the right, each from -1 to 1.
    """

    share: float = 0.15
    reach: float = 1 / 8
    numbers: int = 2

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        n, places, told = len(x), [], []
        done = torch.rand(n, generator=generator) < self.share
        for side in x.shape[-2:]:
            most = max(1, int(self.reach * side))
            by = torch.randint(-most, most + 1, (n,), generator=generator) * done
            places.append((torch.arange(side) - by[:, None]).clamp(0, side - 1).to(x.device))
            told.append(by / most)
        items = torch.arange(n, device=x.device)[:, None, None]
        # Indices on both sides of a slice bring the channels to the end.
        moved = x[items, :, places[0][:, :, None], places[1][:, None, :]].movedim(-1, 1)
        return moved.contiguous(), torch.stack(told, 1).to(x)


AUGMENTATIONS: dict[str, Augmentation] = {"flip": Flip(), "shift": Shift()}


def augmentations(words: str | Sequence[str], event: Sequence[int]) -> tuple[str, ...]:
    """The names in `words` ("none", "flip", "flip,shift", or a sequence) for items of shape `event`, in their order.

    Raises BadInput for other names, and for items that are no pictures.
    """
    parts = words.split(",") if isinstance(words, str) else words
    asked = {part.strip() for part in map(str, parts)} - {"none", ""}
    for name in sorted(asked - set(AUGMENTATIONS)):
        raise BadInput(f"there is no augmentation '{name}'{near(name, ('none', *AUGMENTATIONS))}")
    if asked and len(event) != 3:
        raise BadInput("only pictures can be augmented; leave --augment out")
    return tuple(name for name in AUGMENTATIONS if name in asked)


def numbers(names: Sequence[str]) -> int:
    """How many numbers tell what these augmentations did."""
    return sum(AUGMENTATIONS[name].numbers for name in names)


def augmented(x: Tensor, names: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Pictures (n, c, h, w) after all of `names`, and what was done to each, (n, numbers), or None without any."""
    told = []
    for name in names:
        x, done = AUGMENTATIONS[name](x, generator)
        told.append(done)
    return x, torch.cat(told, 1) if told else None
