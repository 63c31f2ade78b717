"""Where training begins for data on few levels: at a histogram per class and place, in closed form.

The logarithm of the share of each level, at each place of the item, in each class, shrunk towards the share over all
classes, is what the network's table of outputs is filled with. A histogram mixture is thus the model before the first
step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.networks.backbone import Backbone
from driftback.scores.parametrisation import Levels

SHRINK = 20.0
"""The histogram of all classes weighs as much as so many items of a class."""


@torch.no_grad()
def fill_bias(network: Backbone, levels: Levels, x0: Tensor, label: Tensor | None) -> None:
    """Fill `network`'s table, if it has one, from the encoded items `x0` (n, c, *places) and their classes (n,)."""
    if network.bias is None:
        return
    pooled = _counts(levels, x0) + 0.5
    pooled /= pooled.sum(1, keepdim=True)
    table = network.bias.table
    for k in range(network.classes):
        counts = _counts(levels, x0[label == k]) + SHRINK * pooled
        table[k] = (counts / counts.sum(1, keepdim=True)).log().flatten(0, 1)
    table[-1] = pooled.log().flatten(0, 1)


def _counts(levels: Levels, x0: Tensor) -> Tensor:
    """How many items have each level at each place: (c, count, *places)."""
    total = torch.zeros(x0.shape[1], levels.count, *x0.shape[2:])
    for part in x0.split(1024):
        total += F.one_hot(levels.index(part), levels.count).sum(0).movedim(-1, 1)
    return total
