"""Where training begins: at what can be said in closed form, a histogram where there are few levels, or a mixture.

The logarithm of the share of each level, at each place of the item, in each class, shrunk towards the share over all
classes, is what the network's table of outputs is filled with. A histogram mixture is thus the model before the first
step. With method `corrected` it is a mixture of Gaussians (`driftback.distributions.low_rank_fit`), which the network
corrects.
"""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.distributions.low_rank_fit import MOST_NUMBERS, fitted, fitted_on, shape_for
from driftback.networks.backbone import Backbone
from driftback.networks.closed_form import ClosedFormSpec, Role
from driftback.networks.memory import Kind, Memory, MemorySpec
from driftback.randomness import Rng
from driftback.recipes.assembly import untrained
from driftback.recipes.config import Config
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels
from driftback.training.items import Items
from driftback.training.speed import remembered

MOST_PATCHED = 2_000_000
"""Patches of pictures of so many numbers in all are remembered: each is compared with all others at its place."""
LEAST_PATCHED = 200
"""So many pictures are remembered however large they are, and one of each class."""
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
        known = torch.zeros(len(x), dtype=torch.int64) if label is None or not network.classes else label
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


def bearable(numbers: int, features: int = 0) -> int:
    """How many items of `numbers` numbers, of which `features` more are told, a mixture is fitted to at most."""
    return max(1, MOST_NUMBERS // max(numbers, features))


def closed_form_for(
    items: int,
    numbers: int,
    counts: Sequence[int] = (),
    features: int = 0,
    role: Role | Kind | Literal[""] = "corrected",
    shift: int = 0,
) -> ClosedFormSpec | MemorySpec | None:
    """The size of the mixture that `items` items of `numbers` numbers bear, or None where they bear none, or none has a
    `role`. `counts` says how many are of each class; or it is moved by `features` numbers of a caption or the like.
    Where `role` is what is remembered of the items, how many of them are, and by how much patches are moved.
    """
    if role in get_args(Kind):
        most = max(LEAST_PATCHED, MOST_PATCHED // numbers, len(counts)) if role == "patches" else items
        kept = min(items, most)
        return MemorySpec(kind=cast("Kind", role), items=kept, classes=len(counts), shift=shift)
    most, classes = bearable(numbers, features), len(counts)
    share = min(1.0, most / max(1, items))
    shape = shape_for(min(items, most), numbers, [int(share * count) for count in counts])
    if not role or shape.rank < 1:
        return None
    size: dict[str, Any] = {"rank": shape.rank, "role": cast("Role", role)}
    if features:
        return ClosedFormSpec(components=2 * shape.components, classes=1, features=features, **size)
    return ClosedFormSpec(components=shape.components, shared=shape.shared, classes=classes, **size)


def fill_closed_form(network: Backbone, items: Items, *, seed: int) -> None:
    """Fit the mixture of `network`, if it has one, to the encoded items, or, of very many, to some of them."""
    known = network.closed_form
    if known is None:
        return
    # The items are on the CPU, and so is all that fits to them.
    device = next(network.parameters()).device
    network.to("cpu")
    rng, most = Rng(seed).child("closed form"), bearable(math.prod(items.event), known.spec.features)
    if isinstance(known, Memory):
        most = known.spec.items
    index = torch.arange(len(items))
    if len(items) > most:
        index = torch.from_numpy(rng.child("items").generator().permutation(len(items)))
        if isinstance(known, Memory) and known.spec.classes and items.label is not None:
            index = of_each(index, items.label[index], most)
        index = index[:most].sort().values
    x0, label = items.take(index)
    told = network.told(label)
    if isinstance(known, Memory):
        known.fill(x0, told, rng=rng)
        network.to(device)
        return
    if told is not None and known.spec.features:
        mixture, moves = fitted_on(x0.flatten(1), told, known.spec, rng=rng)
        known.fill(mixture, x0, told, rng=rng, moves=moves)
    else:
        known.fill(fitted(x0.flatten(1), told, known.spec.classes, known.spec, rng=rng), x0, told, rng=rng)
    network.to(device)


def of_each(index: Tensor, label: Tensor, most: int) -> Tensor:
    """The items `index` (n,), of classes `label` (n,), in another order, of which `most` >= 1 can be taken: first so
    many of each class that they are half of these, or all that a class has, then the others as they come.
    """
    known = label.unique()
    least, early = max(1, most // (2 * len(known))), torch.zeros(len(label), dtype=torch.bool)
    for one in known.tolist():
        early[(label == one).nonzero()[:least, 0]] = True
    return torch.cat([index[early], index[~early]])


def ready(config: Config, items: Items, device: str, before: LearnedDenoiser | None = None) -> LearnedDenoiser:
    """The denoiser of `config` before its first step, on `device`; a mixture that it corrects is that of `before`."""
    denoiser = untrained(config)
    if before is not None and denoiser.network.closed_form is not None and before.network.closed_form is not None:
        denoiser.network.closed_form.load_state_dict(before.network.closed_form.state_dict())
    if isinstance(denoiser.parametrisation, Levels):
        fill_bias(denoiser.network, denoiser.parametrisation, items)
    denoiser.network.to(device)
    return denoiser


def filled(denoiser: LearnedDenoiser, items: Items, seed: int) -> float:
    """Fit the mixture that the network of `denoiser` corrects, if it does; the seconds that this takes here.

    They are remembered for this machine as a step's are, so that two runs of one budget plan the same.
    """
    if denoiser.network.closed_form is None:
        return 0.0
    begun = time.perf_counter()
    fill_closed_form(denoiser.network, items, seed=seed)
    facts = (denoiser.network.closed_form.spec, len(items), items.event, torch.get_num_threads(), platform.node())
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return remembered(key, time.perf_counter() - begun)


def _counts(levels: Levels, x0: Tensor) -> Tensor:
    """How many items have each level at each place: (c, count, *places)."""
    return F.one_hot(levels.index(x0), levels.count).sum(0).movedim(-1, 1).float()
