"""Losses per noise level: where a model is weak, and where it memorises.

The held-out and the training loss are measured with the averaged weights at fixed noise levels with fixed noise, so
that two measurements differ by the weights alone. A single training loss hides that low noise may still improve while
the average has long been flat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.shapes import per_item
from driftback.training.times import TimeLaw

LEVELS = 8


@dataclass(frozen=True)
class LevelLosses:
    """The mean loss at each of the noise levels `ratio` = sigma / alpha, and over all of them."""

    ratio: tuple[float, ...]
    loss: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the levels."""
        return sum(self.loss) / len(self.loss)


@torch.no_grad()
def level_losses(
    denoiser: LearnedDenoiser,
    x0: Tensor,
    label: Tensor | None,
    law: TimeLaw,
    *,
    rng: Rng,
    cell: Tensor | None = None,
    batch: int = 256,
    told: Tensor | None = None,
) -> LevelLosses:
    """The loss of `denoiser` on `x0` (n, *event), each item at one of eight quantiles of `law`; `rng` fixes the noise.

    `told` (n, numbers) is what the network is told was done to each item, unless that is None.
    Discrete data are spread over cells of width `cell`, as in training, unless that is None.
    """
    network = denoiser.network
    was_training = network.training
    network.eval()
    if cell is not None:
        x0 = x0 + cell.to(x0) * (rng.child("cell").uniform(x0.shape, dtype=x0.dtype, device=x0.device) - 0.5)
    u = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    times = law.quantile(u, denoiser.process)
    level = torch.arange(len(x0)) % LEVELS
    noise = rng.child("level").normal(x0.shape, dtype=x0.dtype)
    losses = []
    for start in range(0, len(x0), batch):
        part = slice(start, start + batch)
        x, t = x0[part], times[level[part]].to(x0.device)
        alpha, sigma = denoiser.process.alpha(t), denoiser.process.sigma(t)
        x_t = per_item(alpha, x) * x + per_item(sigma, x) * noise[part].to(x.device)
        given = denoiser if label is None else denoiser.given(label[part])
        given = given if told is None else replace(given, augmented=told[part])
        losses.append(denoiser.parametrisation.loss(given.output(x_t, t), x, x_t, alpha, sigma).double().cpu())
    loss = torch.cat(losses)
    network.train(was_training)
    present = level.unique().tolist()  # fewer than eight items leave levels out
    ratio = denoiser.process.sigma(times) / denoiser.process.alpha(times)
    return LevelLosses(tuple(float(ratio[k]) for k in present), tuple(float(loss[level == k].mean()) for k in present))
