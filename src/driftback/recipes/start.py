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
from driftback.training.items import Items

SHRINK = 20.0
"""The histogram of all classes weighs as much as so many items of a class."""


@torch.no_grad()
def fill_bias(network: Backbone, levels: Levels, items: Items) -> None:
    """Fill `network`'s table, if it has one, from the encoded items (n, c, *places) and their classes."""
    if network.bias is None:
        return
    channels, *places = items.event
    of_class = torch.zeros(max(1, network.classes), channels, levels.count, *places)
    for x, label in items.parts():
        known = torch.zeros(len(x), dtype=torch.int64) if label is None else label
        for part, some in zip(x.split(1024), known.split(1024), strict=True):
            for k in some.unique().tolist():
                of_class[k] += _counts(levels, part[some == k])
    pooled = of_class.sum(0) + 0.5
    pooled /= pooled.sum(1, keepdim=True)
    table = network.bias.table
    for k in range(network.classes):
        counts = of_class[k] + SHRINK * pooled
        table[k] = (counts / counts.sum(1, keepdim=True)).log().flatten(0, 1)
    table[-1] = pooled.log().flatten(0, 1)


def _counts(levels: Levels, x0: Tensor) -> Tensor:
    """How many items have each level at each place: (c, count, *places)."""
    return F.one_hot(levels.index(x0), levels.count).sum(0).movedim(-1, 1).float()
