"""What every library is given: the pictures, the batch, and the network that all of them share.

Each library's own U-Net has driftback's widths, so as many resolutions, and no attention. Of the shapes that its
constructor then allows it has the one closest to driftback's in parameters, then in operations. torchcfm's
normalisation wants multiples of 32 channels, so the widths are that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from driftback.networks.presets import NetworkSpec, build


@dataclass(frozen=True)
class Case:
    """Grey pictures of `side` x `side`, trained on in batches of `batch`, with driftback's U-Net of `widths`."""

    side: int
    batch: int
    widths: tuple[int, ...]
    depth: int
    dropout: float

    def network(self) -> nn.Module:
        """driftback's U-Net, `network(x, number)`: the one that all libraries train in the 'same network' rows."""
        spec = NetworkSpec(
            kind="unet",
            widths=self.widths,
            depth=self.depth,
            dropout=self.dropout,
            conditioning=4 * self.widths[0],
        )
        return build(spec, 1, 1, (1, self.side, self.side), 0)


CASES = {
    "8x8": Case(side=8, batch=64, widths=(64,), depth=3, dropout=0.1),
    "28x28": Case(side=28, batch=32, widths=(32, 64), depth=2, dropout=0.0),
}
SAMPLES = 64
"""Pictures drawn at once."""


def pictures(case: Case) -> Tensor:
    """(n, 1, side, side) float32 in [-1, 1]: scikit-learn's digits, or 2,000 discs at random places."""
    if case.side == 8:
        return torch.from_numpy(load_digits().images.astype(np.float32) / 8 - 1)[:, None]
    row, column, radius = np.random.default_rng(0).uniform([8, 8, 3], [20, 20, 8], (2000, 3)).T.reshape(3, -1, 1, 1)
    rows, columns = np.mgrid[: case.side, : case.side]
    distance = np.hypot(rows - row, columns - column)
    return torch.from_numpy(np.clip(radius - distance, -1, 1).astype(np.float32))[:, None]


class Identity(nn.Module):
    """In the network's place it leaves the time that a library spends outside the network."""

    encoder = None  # driftback asks a network what reads its conditions

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))  # some libraries ask a network for its dtype

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return x
