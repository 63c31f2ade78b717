"""Buckets: a few shapes of about one area, of which each picture gets the nearest, all on one canvas.

A picture of aspect h / w belongs to the bucket with the nearest log(h / w). Scaled to cover it and cropped about the
centre, it stands in the middle of a canvas as high as the highest bucket and as wide as the widest; the rest is one
constant. Such shapes are those of NovelAI (2022) and SDXL (Podell et al. 2023, arXiv 2307.01952, section 2.3), which
draw each batch from one of them; on a canvas one network of one shape learns all of them in every batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor

from driftback.errors import BadInput

ASPECTS = (1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0)
"""Height over width of the shapes that are tried."""
MULTIPLE = 4
"""Sides are multiples of this, as networks like them, and a smaller picture stands exactly in the middle."""
FEWEST, SHARE, MOST = 8, 0.01, 5
"""A bucket has at least so many pictures, and so large a share of them; there are at most so many buckets."""
WHITE = 255

Size = tuple[int, int]
"""Height and width."""


class Buckets(BaseModel):
    """Shapes (height, width), and `ground`, the byte that stands outside of a picture's bucket, in each channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shapes: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(min_length=1)
    ground: int = Field(default=0, ge=0, le=255)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.shapes)) < len(self.shapes):
            raise ValueError("two buckets have one shape")
        return self

    @property
    def canvas(self) -> Size:
        """The height and width in which every bucket finds room."""
        return max(height for height, _ in self.shapes), max(width for _, width in self.shapes)

    def nearest(self, sizes: Sequence[Size]) -> np.ndarray:
        """The bucket of pictures of these sizes (height, width), (n,) int64."""
        return nearest(self.shapes, sizes)

    def painted(self, x: np.ndarray, bucket: np.ndarray, value: int | None = None) -> np.ndarray:
        """Canvases `x` (n, h, w[, c]) with `value`, by default the ground, outside of their `bucket` (n,)."""
        out = np.full_like(x, self.ground if value is None else value)
        for k, shape in enumerate(self.shapes):
            of, place = np.flatnonzero(bucket == k), middle(self.canvas, shape)
            out[of, *place] = x[of, *place]
        return out

    def seen(self, x: np.ndarray, first: int = 0) -> np.ndarray:
        """The smallest bucket of each canvas `x` (n, h, w[, c]) outside of which there is but ground, (n,) int64.

        Raises BadInput for a canvas that no bucket suits, by its number, that of the first one being `first`.
        """
        found = np.full(len(x), -1)
        for k in sorted(range(len(self.shapes)), key=lambda k: -math.prod(self.shapes[k])):
            found[(self.painted(x, np.full(len(x), k)) == x).reshape(len(x), -1).all(1)] = k
        if (found < 0).any():
            known = ", ".join(map(named, self.shapes))
            raise BadInput(
                f"item {first + int(np.argmin(found))} is in no bucket: outside of each of {known} in the middle "
                f"something differs from {self.ground}"
            )
        return found

    def told(self, bucket: np.ndarray) -> Tensor:
        """What a network is told of `bucket` (n,): a 1 for each, (n, number of buckets) float32."""
        return F.one_hot(torch.from_numpy(np.asarray(bucket, np.int64)), len(self.shapes)).float()


def middle(canvas: Sequence[int], shape: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns of `shape` in the middle of `canvas`."""
    starts = [(whole - own) // 2 for whole, own in zip(canvas, shape, strict=True)]
    return slice(starts[0], starts[0] + shape[0]), slice(starts[1], starts[1] + shape[1])


def named(shape: Sequence[int]) -> str:
    """What a shape is called where it can be asked for: 24x40."""
    return f"{shape[0]}x{shape[1]}"


def rounded(length: float) -> int:
    """The multiple of `MULTIPLE` that is nearest to a side of this length."""
    return max(MULTIPLE, MULTIPLE * round(length / MULTIPLE))


def shapes_of(area: float) -> tuple[Size, ...]:
    """The shapes of about `area` pixels that are tried, from the widest to the highest, each once."""
    pairs = ((rounded(math.sqrt(area * aspect)), rounded(math.sqrt(area / aspect))) for aspect in ASPECTS)
    return tuple(dict.fromkeys(pairs))


def nearest(shapes: Sequence[Size], sizes: Sequence[Size]) -> np.ndarray:
    """Which of `shapes` has the log aspect nearest to that of each of `sizes`, (n,) int64."""
    ours, theirs = (np.log([height / width for height, width in some]) for some in (shapes, sizes))
    return np.abs(theirs[:, None] - ours).argmin(1)


def chosen(sizes: Counter[Size], area: float) -> tuple[Size, ...]:
    """The shapes of about `area` pixels that enough pictures of these `sizes` are nearest to; it may be none."""
    shapes, counts = shapes_of(area), Counter[int]()
    for k, count in zip(nearest(shapes, list(sizes)).tolist(), sizes.values(), strict=True):
        counts[k] += count
    least = max(FEWEST, SHARE * sizes.total())
    return tuple(shapes[k] for k in sorted(k for k, count in counts.most_common(MOST) if count >= least))
