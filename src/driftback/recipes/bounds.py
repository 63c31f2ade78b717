"""Which bound a model's likelihood is, where it is one: of probabilities of levels, or of errors of x_0."""

from __future__ import annotations

import torch
from torch import Tensor

from driftback.evaluation.bound import variational_bound
from driftback.evaluation.continuous_bound import continuous_bound
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng
from driftback.recipes.assembly import encoded_levels
from driftback.recipes.config import Config
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels
from driftback.scores.spikes import Spikes


def bound_of(config: Config, denoiser: LearnedDenoiser, x: Tensor, *, draws: int, rng: Rng) -> LogLikelihood:
    """A lower bound on log P(x) in nats for encoded items `x` (n, *event) on the levels of the data of `config`."""
    if isinstance(denoiser.parametrisation, Levels | Spikes):
        return variational_bound(denoiser, x, spread=config.spread, draws=draws, rng=rng)
    start, step, count = encoded_levels(config)
    levels = start + step * torch.arange(count, dtype=torch.float64)
    return continuous_bound(denoiser, x, levels, spread=config.spread, draws=draws, rng=rng)
