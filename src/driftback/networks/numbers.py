"""Numbers to condition on as vectors: sines and cosines of each at log-spaced frequencies, mixed by a small MLP.

A number z, standardised, gives z, sin(f z) and cos(f z) (Tancik et al. 2020, arXiv 2006.10739), and a 1 that says it is
there; a missing one (NaN) gives zeros, so that 'nothing is given' is a row of NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from driftback.errors import BadInput


class NumberEncoder(nn.Module):
    """Rows of `count` standardised numbers, NaN where one is not given, to vectors (n, width)."""

    frequencies: Tensor

    def __init__(self, count: int, width: int, waves: int = 6) -> None:
        super().__init__()
        self.row: tuple[int, ...] = (count,)
        self.features = 3 * count
        # From a wave as wide as the data to one of a tenth of a deviation: finer ones would learn the items by heart.
        self.register_buffer("frequencies", torch.logspace(-0.3, 1.0, waves), persistent=False)
        self.mix = nn.Sequential(nn.Linear(count * (2 * waves + 2), width), nn.SiLU(), nn.Linear(width, width))

    def none(self, n: int, device: torch.device) -> Tensor:
        return torch.full((n, *self.row), torch.nan, device=device)

    def dropped(self, y: Tensor, u: Tensor, share: float) -> Tensor:
        return torch.where((u < share)[:, None], torch.nan, y)

    def refuse(self, y: Tensor) -> None:
        if y.shape[-1:] != self.row or bool(y.isinf().any()):
            raise BadInput(f"numbers of shape {tuple(y.shape)} were given; give {self.row[0]} finite ones per item")

    def described(self, y: Tensor) -> Tensor:
        """1, z and z^2 for each number z that is given."""
        there = ~y.isnan()
        z = torch.where(there, y, 0.0)
        return torch.cat([there.to(z), z, z**2], 1)

    def forward(self, y: Tensor) -> Tensor:
        there = ~y.isnan()
        z = torch.where(there, y, 0.0)
        angles = z[..., None] * self.frequencies
        seen = torch.cat([torch.ones_like(z)[..., None], z[..., None], angles.sin(), angles.cos()], -1)
        return self.mix((seen * there[..., None]).flatten(1))


class VectorEncoder(nn.Module):
    """Rows that another model made of a sentence, (n, size), to vectors (n, width); a row of zeros gives nothing."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.row: tuple[int, ...] = (size,)
        self.features = size
        self.nothing = nn.Parameter(torch.zeros(width))
        self.mix = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))

    def none(self, n: int, device: torch.device) -> Tensor:
        return torch.zeros((n, *self.row), device=device)

    def dropped(self, y: Tensor, u: Tensor, share: float) -> Tensor:
        return torch.where((u < share)[:, None], 0.0, y)

    def refuse(self, y: Tensor) -> None:
        if y.shape[-1:] != self.row or not bool(y.isfinite().all()):
            raise BadInput(f"vectors of shape {tuple(y.shape)} were given; give {self.row[0]} finite numbers per item")

    def described(self, y: Tensor) -> Tensor:
        """The vectors, in the scale that the network reads them in."""
        return y * self.row[0] ** 0.5

    def forward(self, y: Tensor) -> Tensor:
        # Unit vectors have small numbers: scaled to a deviation of about 1 they are what a layer expects.
        there = (y != 0).any(-1, keepdim=True)
        return torch.where(there, self.mix(y * self.row[0] ** 0.5), self.nothing)
