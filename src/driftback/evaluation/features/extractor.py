"""What turns pictures into rows of features: a name that every number carries, and a function that is called in blocks.

An extractor sees encoded pictures, (n, channels, height, width) float32 in [-1, 1], and gives one row for each,
whatever else is in the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput, DriftbackError
from driftback.evaluation.points import Points

BLOCK_NUMBERS = 1 << 18
"""Numbers in the pictures of one block: 334 of 28 x 28, and 4 of 178 x 218 x 3 at least."""


class Extractor(Protocol):
    """A `name` for the numbers, and pictures (n, c, h, w) to features, (n, d) in any type."""

    @property
    def name(self) -> str: ...
    def __call__(self, pictures: Tensor) -> Any: ...


def blocks(pictures: Tensor) -> Iterator[Tensor]:
    """The items (n, *event) in blocks that fit a modest memory."""
    yield from pictures.split(max(4, BLOCK_NUMBERS // max(1, pictures[0].numel())))


@torch.no_grad()
def extract(extractor: Extractor, pictures: Tensor) -> Points:
    """The features (n, d) float64 of `pictures` (n, *event), n >= 1; BadInput where the extractor gives anything else
    than one finite row for each.
    """
    return np.concatenate([_checked(extractor, block) for block in blocks(pictures)])


def _checked(extractor: Extractor, block: Tensor) -> Points:
    rows = extractor(block)
    try:
        found = np.asarray(rows.detach().cpu() if isinstance(rows, Tensor) else rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"the features of {extractor.name} are no numbers ({error}); return an array (n, d)") from error
    if found.ndim != 2 or len(found) != len(block) or not found.shape[1]:
        raise BadInput(f"{len(block)} items gave features of shape {found.shape} ({extractor.name}); return (n, d)")
    if not np.isfinite(found).all():
        raise BadInput(f"the features of {extractor.name} hold values that are not finite; correct the function")
    return found


class Function:
    """A person's own function, which gets items as the model draws them, after `decode` has undone the encoding."""

    def __init__(self, function: Callable[[np.ndarray], Any], decode: Callable[[Tensor], np.ndarray]) -> None:
        self.function, self.decode = function, decode
        named = getattr(function, "__name__", type(function).__name__)
        self.name = named if named.isidentifier() else "own"

    def __call__(self, pictures: Tensor) -> Any:
        try:
            return self.function(self.decode(pictures))
        except DriftbackError:
            raise
        except Exception as error:  # a person's own code may raise anything
            raise BadInput(
                f"the features of {self.name} failed ({type(error).__name__}: {error}); correct it"
            ) from error
