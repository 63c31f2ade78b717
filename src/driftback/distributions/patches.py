"""The mean of each pixel after noise, by what surrounds it: pictures made of pieces of pictures.

For a pixel i, the patch y_i of `size` pixels a side about it is compared with the patches x_j about the same place in
all recorded pictures, and about places up to `shift` pixels away: E = sum_j softmax_j(-|y_i - x_j|^2 / (2 r^2)) times
the middle of x_j. A convolution of small reach can know no more than this, and whole pictures as new as samples of
trained networks come out of it (Kamb and Ganguli 2024, arXiv 2412.20292, equation 8). Beyond its edges a picture is not
compared; a moved one repeats its edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from driftback.distributions.patch_means import mean
from driftback.distributions.recall import Recall
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng


@dataclass(frozen=True, eq=False)
class Patches:
    """`pictures` (m, c, h, w), each also moved by up to `shift` pixels up, down and to the sides. BadInput for none."""

    pictures: Tensor
    shift: int = 0

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or len(self.pictures) == 0:
            raise BadInput(f"patches are cut from pictures (m, c, h, w), not from {tuple(self.pictures.shape)}")
        if not 0 <= self.shift < min(self.pictures.shape[2:]):
            raise BadInput(f"pictures cannot be moved by {self.shift} pixels; give 0 or a few")

    def mean(self, y: Tensor, precision: Tensor, size: int) -> Tensor:
        """E[x | y] pixel by pixel for `y` (n, c, h, w) at `precision` 1 / r^2 (n,), by patches of an odd `size`: the
        shape and dtype of `y`. BadInput for a size that is even or below 1.
        """
        if size < 1 or size % 2 == 0:
            raise BadInput(f"a patch of {size} pixels a side has no middle; give an odd number")
        side = max(y.shape[2:])
        if size // 2 >= side - 1 and not self.shift:  # every pixel sees the whole picture
            return Recall(self.pictures.flatten(1)).mean(y.flatten(1), precision).reshape(y.shape)
        return mean(y, precision, self.pictures, self.shift, min(size, 2 * side - 1))


LEVELS, LOWEST, HIGHEST = 12, 0.02, 20.0
"""Noise levels at which patches have a size of their own: so many, from and to so many deviations of the data."""
SIZES = (1, 3, 5, 7, 11, 15)
"""Sides of patches that are tried, as far as the pictures are as large; and whole pictures."""


def noise_levels(spread: float) -> Tensor:
    """The noise-to-data ratios (LEVELS,), rising, for data of standard deviation `spread`."""
    return spread * torch.logspace(math.log10(LOWEST), math.log10(HIGHEST), LEVELS, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class SizedPatches:
    """`patches`, of `sizes` (LEVELS,) at the noise levels of data of standard deviation `spread`.

    How large they are where is what Kamb and Ganguli (2024) read off a trained network; `chosen` takes the sizes that
    err least on pictures that are left out.
    """

    patches: Patches
    sizes: Tensor
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.sizes.shape != (LEVELS,):
            raise BadInput(f"{LEVELS} noise levels have {len(self.sizes)} sizes of patches; give one each")

    @classmethod
    def chosen(
        cls,
        patches: Patches,
        left_out: Tensor,
        *,
        spread: float = 1.0,
        sizes: tuple[int, ...] = SIZES,
        rng: Rng | int | None = None,
    ) -> Self:
        """Those whose mean squared error on pictures `left_out` (n, c, h, w) is least, level by level.

        More noise wants larger patches, and the error falls with their size and rises again: each level begins at the
        size of the one below and goes up while that pays, which asks a fourth of all pairs, and few large patches.
        """
        side, rng, best = max(left_out.shape[2:]), as_rng(rng), 0
        tried, chosen = (*(size for size in sizes if size < side), 2 * side - 1), []
        for k, ratio in enumerate(noise_levels(spread).tolist()):
            y = left_out + ratio * rng.child("noise", k).normal(left_out.shape, dtype=left_out.dtype)
            precision = torch.full((len(y),), ratio**-2, dtype=torch.float64)

            def error(size: int, y: Tensor = y, precision: Tensor = precision) -> float:
                return float((patches.mean(y, precision, size) - left_out).square().mean())

            least = error(tried[best])
            while best + 1 < len(tried) and (larger := error(tried[best + 1])) < least:
                best, least = best + 1, larger
            chosen.append(tried[best])
        return cls(patches, torch.tensor(chosen), spread)

    def mean(self, y: Tensor, precision: Tensor) -> Tensor:
        """E[x | y] for `y` (n, c, h, w) at `precision` (n,), each by the size of the noise level nearest to its own."""
        clock = -precision.clamp(min=1e-30).log() / 2
        nearest = (clock[:, None] - noise_levels(self.spread).log().to(clock)).abs().argmin(1)
        own, out = self.sizes.to(nearest.device)[nearest], torch.empty_like(y)
        for size in own.unique().tolist():
            rows = own == size
            out[rows] = self.patches.mean(y[rows], precision[rows], int(size))
        return out
