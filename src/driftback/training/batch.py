"""The batch of a step: items of the shuffled epochs, with their noise levels, their noise, and what each loss counts.

All of it follows from the plan's seed and the number of the step, so that a resumed training repeats an undisturbed
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.training.augment import augmented
from driftback.training.drawing import Drawing
from driftback.training.items import Items
from driftback.training.order import batch_indices
from driftback.training.plan import Plan
from driftback.training.times import TimeLaw
from driftback.training.weightings import WEIGHTINGS


@dataclass(frozen=True)
class Batch:
    """The items of step `step` with their noise."""

    step: int
    index: Tensor
    x: Tensor
    y: Tensor | None
    t: Tensor
    noise: Tensor
    told: Tensor | None
    """What augmentation did to each item, and what was done to it before, which the network is told."""
    u: Tensor
    """The uniform numbers behind `t`."""
    factor: Tensor | None
    """What each loss counts because its time was likelier than its law has it, (n,); None for 1."""
    weight: Tensor | None
    """What each loss is multiplied by, (n,): that and the plan's weighting; None for 1."""


def batch_of(
    denoiser: LearnedDenoiser,
    drawing: Drawing,
    items: Items,
    law: TimeLaw,
    plan: Plan,
    k: int,
    cell: Tensor | None,
    device: torch.device | str,
) -> Batch:
    """The batch of step `k`, on `device`; `drawing` draws its noise levels from `law`."""
    rng = Rng(plan.seed)
    index = torch.from_numpy(batch_indices(rng.child("order"), k, plan.batch, len(items)))
    generator = rng.child("step", k).torch_generator(device)
    x, y = items.take(index)
    x, y = x.to(device, non_blocking=True), None if y is None else y.to(device, non_blocking=True)
    x, told = augmented(x, plan.augment, rng.child("augment", k).torch_generator())
    if items.done is not None:
        before = items.done[index].to(x)
        told = before if told is None else torch.cat([told, before], 1)
    u, factor = drawing(plan.batch, generator)
    t = law.quantile(u, denoiser.process)
    # The strata are sorted, the batch is shuffled: no item is tied to a noise level.
    noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
    if cell is not None:
        x = x + cell.to(x) * (torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype) - 0.5)
    if y is not None and (encoder := denoiser.network.encoder) is not None:
        y = encoder.dropped(y, torch.rand(plan.batch, generator=generator, device=device), plan.label_drop)
    return Batch(k, index, x, y, t, noise, told, u, factor, weight_of(denoiser, t, y, factor, plan))


def weight_of(
    denoiser: LearnedDenoiser, t: Tensor, y: Tensor | None, factor: Tensor | None, plan: Plan
) -> Tensor | None:
    """What the losses at times `t` (n,) of items of the conditions `y` are multiplied by, (n,), `factor` included; None
    for 1.
    """
    process = denoiser.process
    alpha, sigma = process.alpha(t), process.sigma(t)
    relative = WEIGHTINGS[plan.weighting].relative(denoiser.parametrisation, alpha, sigma, process.spread)
    known = denoiser.network.closed_form
    if known is not None and known.spec.role == "corrected" and relative is None:
        # Where a closed form is corrected, the error of what it leaves counts, which has unit variance.
        relative = known.weight(sigma / alpha, denoiser.network.told(y))
    if factor is None or relative is None:
        return factor if relative is None else relative
    return factor * relative
