"""What of an item is seen: masks, blur, fewer pixels, grey, any matrix; linear maps of points (n, *event).

Each is a plain function of a batch, item by item and differentiable by torch, so that a person's own is as good (see
`driftback.distributions.observation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.errors import BadInput

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count for in a picture's grey (ITU-R BT.601)."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The coordinates of an item that are seen: where `seen` (*event) is true, (n, *event) to (n, m).

    BadInput where nothing is seen, or everything.
    """

    seen: Tensor

    def __post_init__(self) -> None:
        seen = self.seen.bool()
        object.__setattr__(self, "seen", seen)
        if not bool(seen.any()):
            raise BadInput("the mask hides everything, so nothing is known: draw without an observation instead")
        if bool(seen.all()):
            raise BadInput("the mask hides nothing, so nothing is left to fill in: hide a part")

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, self.seen.to(x.device)]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A x for flattened items: `matrix` (m, d), (n, *event) of d numbers to (n, m)."""

    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x).T


@dataclass(frozen=True)
class Downsample:
    """The mean over squares of `factor` pixels a side, (n, c, h, w) to (n, c, h / factor, w / factor).

    BadInput for a factor below 2; sides that it does not divide are refused when a picture comes.
    """

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise BadInput(f"a picture that is {self.factor} times smaller is none; give a factor of 2 or more")

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise BadInput(f"{self.factor} does not divide the sides of {tuple(x.shape[1:])}; give a factor that does")
        return F.avg_pool2d(x, self.factor)


@dataclass(frozen=True)
class Grey:
    """The luminance of pictures in colour, (n, 3, h, w) to (n, 1, h, w); a fourth channel is not seen."""

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] < 3:
            raise BadInput(f"items of {tuple(x.shape[1:])} have no colours to lose; give pictures in colour")
        shares = torch.tensor(LUMA, dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
        return (x[:, :3] * shares).sum(1, keepdim=True)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of `deviation` pixels, with the picture mirrored at its edges: (n, c, h, w) to the same.

    BadInput unless `deviation` is positive and finite; where it reaches over a side, when a picture comes.
    """

    deviation: float

    def __post_init__(self) -> None:
        if not 0 < self.deviation < math.inf:
            raise BadInput(f"a blur of {self.deviation} pixels is none; give a positive number")

    @property
    def reach(self) -> int:
        """How many pixels it sees to each side: three deviations, at least 1."""
        return max(1, math.ceil(3 * self.deviation))

    def __call__(self, x: Tensor) -> Tensor:
        r = self.reach
        if x.ndim != 4 or min(x.shape[2:]) <= r:
            raise BadInput(f"a blur of {self.deviation:g} pixels needs pictures of {r + 1} a side at least")
        place = torch.arange(-r, r + 1, dtype=torch.float64)
        row = torch.exp(-(place**2) / (2 * self.deviation**2))
        row = (row / row.sum()).to(x)
        flat = F.pad(x.flatten(0, 1)[:, None], (r, r, r, r), mode="reflect")
        flat = F.conv2d(F.conv2d(flat, row.reshape(1, 1, 1, -1)), row.reshape(1, 1, -1, 1))
        return flat.reshape(x.shape)
