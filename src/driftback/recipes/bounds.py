"""What a model's likelihood is computed by: the probability-flow ODE, or one of the bounds, by name.

Where nothing is said it is the ODE, or, of a method that treats the data's levels as they are, VDM's bound on their
probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.arguments import near, whole
from driftback.errors import BadInput
from driftback.evaluation.bound import variational_bound
from driftback.evaluation.continuous_bound import continuous_bound
from driftback.evaluation.discrete_bound import discrete_bound
from driftback.evaluation.entropy_bound import entropy_bound
from driftback.evaluation.likelihood import EXACT_UP_TO, LogLikelihood, ode_log_likelihood, probes_for
from driftback.processes.ddpm import DiscreteChain
from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.recipes.assembly import bounded, encoded_levels, lowest_ratio
from driftback.recipes.config import Config
from driftback.recipes.methods import METHODS
from driftback.samplers.grids import log_snr
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels
from driftback.scores.spikes import Spikes

NAMES = ("ode", "continuous", "ddpm", "entropy")
"""The ODE's density, VDM's bound on levels, DDPM's bound of a chain, and K of the first diffusion paper."""
DRAWS = 32
"""The evaluations per item of a bound where nothing is said."""
STEPS = 1000
"""The steps of a chain where nothing is said."""


@dataclass(frozen=True)
class How:
    """What a likelihood is computed by, one of `NAMES` (None: what suits the model); `draws` evaluations per item
    of a bound, stratified (None: `DRAWS`), or Hutchinson's probes for an ODE; of a chain of `steps` (None: `STEPS`,
    or those of the model's own chain). With `check` an ODE's steps are halved too.
    """

    bound: str | None = None
    steps: int | None = None
    draws: int | None = None
    check: bool = False

    def settled(self, config: Config) -> str:
        """The name, where it is left open too. BadInput for one that the model of `config` does not have."""
        method, own = config.method, "continuous" if bounded(config) else "ode"
        if METHODS[method].remembers:
            raise BadInput(f"method {method} has no density: its items are points without a width; fit another")
        name = self.bound or own
        if name not in NAMES:
            raise BadInput(f"there is no bound '{name}'{near(name, NAMES)}")
        if name == "continuous" and own != name:
            raise BadInput(
                "the continuous bound is of levels, and this model was not fitted to know any: take ode, ddpm or "
                "entropy, or fit with --method levels, spikes or vdm"
            )
        if own == "continuous" and name in ("ode", "entropy"):
            raise BadInput(f"method {method} draws levels, which have no density: take continuous or ddpm, not {name}")
        if self.steps is not None and name not in ("ddpm", "entropy"):
            raise BadInput(f"steps belong to a chain's bound, ddpm or entropy, not to {name}")
        if self.check and name != "ode":
            raise BadInput(f"check looks at the steps of an ODE, and {name} is a bound, which has none: leave it out")
        if self.draws is not None and whole(self.draws, "draws") < 2:
            raise BadInput(f"{self.draws} draws have no standard error; give at least 2, better {DRAWS}")
        if name == "ode" and self.draws is not None and math.prod(config.preprocessing.event) <= EXACT_UP_TO:
            raise BadInput(
                f"the ODE's divergence is exact up to {EXACT_UP_TO} numbers, and draws nothing: leave draws out"
            )
        return name


def told(how: How, config: Config, denoiser: LearnedDenoiser, x: Tensor, rng: Rng, shared: int = 1) -> LogLikelihood:
    """log p(x) in nats for encoded items `x` (n, *event), spread already where they are (`assembly.cells`); of a method
    on levels log P(x). The draws, or probes, are `shared` by so many calls, with 2 at least for each. BadInput as
    `How.settled`.
    """
    name = how.settled(config)
    if name == "ode":
        low = max(1e-3, lowest_ratio(config) / config.spread)
        probes = max(2, (how.draws or probes_for(math.prod(x.shape[1:]))) // shared)
        return ode_log_likelihood(denoiser, x, spread=config.spread, low=low, probes=probes, check=how.check, rng=rng)
    draws = max(2, (how.draws or DRAWS) // shared)
    if name == "ddpm":
        levels, times = _levels(config) if bounded(config) else None, chain(config, denoiser.process, how.steps)
        return discrete_bound(denoiser, x, times, levels=levels, draws=draws, rng=rng)
    if name == "entropy":
        return entropy_bound(denoiser, x, chain(config, denoiser.process, how.steps), draws=draws, rng=rng)
    if isinstance(denoiser.parametrisation, Levels | Spikes):
        return variational_bound(denoiser, x, spread=config.spread, draws=draws, rng=rng)
    return continuous_bound(denoiser, x, _levels(config), spread=config.spread, draws=draws, rng=rng)


def chain(config: Config, process: Diffusion, steps: int | None = None) -> Tensor:
    """The times of a chain (steps + 1,), from noise down to none: the process's own where it is one and nothing is
    said, else evenly in the log of the noise over the levels that the model was trained on.
    """
    if steps is None and isinstance(process.schedule, DiscreteChain):
        return process.schedule.times
    steps = STEPS if steps is None else whole(steps, "steps", 2)
    high = min(160 * config.spread, float(process.ratio(1.0)))
    return log_snr(process, steps, low=max(1e-3 * config.spread, lowest_ratio(config)), high=high)


def _levels(config: Config) -> Tensor:
    start, step, count = encoded_levels(config)
    return start + step * torch.arange(count, dtype=torch.float64)
