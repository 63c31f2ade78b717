"""Where training begins: at what can be said in closed form, a histogram where there are few levels, or a mixture.

The logarithm of the share of each level, at each place of the item, in each class, shrunk towards the share over all
classes, is what the network's table of outputs is filled with. A histogram mixture is thus the model before the first
step. With method `corrected` it is a mixture of Gaussians (`driftback.distributions.low_rank_fit`), which the network
corrects.
"""

from __future__ import annotations

import hashlib
import platform
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.distributions.low_rank_fit import fitted, shape_for
from driftback.networks.backbone import Backbone
from driftback.networks.closed_form import ClosedFormSpec
from driftback.randomness import Rng
from driftback.recipes.assembly import untrained
from driftback.recipes.config import Config
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels
from driftback.training.speed import remembered

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


def closed_form_for(items: int, numbers: int, classes: int) -> ClosedFormSpec | None:
    """The size of the mixture that `items` items of `numbers` numbers bear, or None where they bear none."""
    shape = shape_for(items, numbers, classes)
    if shape.rank < 1:
        return None
    return ClosedFormSpec(rank=shape.rank, components=shape.components, shared=shape.shared, classes=classes)


def fill_closed_form(network: Backbone, x0: Tensor, label: Tensor | None, *, seed: int) -> None:
    """Fit the mixture of `network`, if it has one, to the encoded items `x0` (n, *event) and their classes (n,)."""
    known = network.closed_form
    if known is None:
        return
    rng = Rng(seed).child("closed form")
    known.fill(fitted(x0.flatten(1), label, known.spec.classes, known.spec, rng=rng), x0, label, rng=rng)


def ready(
    config: Config, x0: Tensor, label: Tensor | None, device: str, before: LearnedDenoiser | None = None
) -> LearnedDenoiser:
    """The denoiser of `config` before its first step, on `device`; a mixture that it corrects is that of `before`."""
    denoiser = untrained(config)
    if before is not None and denoiser.network.closed_form is not None and before.network.closed_form is not None:
        denoiser.network.closed_form.load_state_dict(before.network.closed_form.state_dict())
    if isinstance(denoiser.parametrisation, Levels):
        fill_bias(denoiser.network, denoiser.parametrisation, x0, label)
    denoiser.network.to(device)
    return denoiser


def filled(denoiser: LearnedDenoiser, x0: Tensor, label: Tensor | None, seed: int) -> float:
    """Fit the mixture that the network of `denoiser` corrects, if it does; the seconds that this takes here.

    They are remembered for this machine as a step's are, so that two runs of one budget plan the same.
    """
    if denoiser.network.closed_form is None:
        return 0.0
    begun = time.perf_counter()
    fill_closed_form(denoiser.network, x0, label, seed=seed)
    facts = (denoiser.network.closed_form.spec, tuple(x0.shape), torch.get_num_threads(), platform.node())
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return remembered(key, time.perf_counter() - begun)


def _counts(levels: Levels, x0: Tensor) -> Tensor:
    """How many items have each level at each place: (c, count, *places)."""
    total = torch.zeros(x0.shape[1], levels.count, *x0.shape[2:])
    for part in x0.split(1024):
        total += F.one_hot(levels.index(part), levels.count).sum(0).movedim(-1, 1)
    return total
