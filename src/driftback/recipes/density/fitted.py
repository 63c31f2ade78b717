"""A fitted model's likelihood as a target: what the probability-flow ODE says of a point, in the units of the data.

Its gradient is taken to be the score at the lowest noise level. The two differ by what a network's score is not a
gradient; chains with momentum stay exact for the likelihood with any field in its place, for leapfrogs keep volume and
can be reversed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.evaluation.likelihood import EXACT_UP_TO, ode_log_likelihood
from driftback.randomness import Rng, as_rng
from driftback.recipes.assembly import cells, lowest_ratio
from driftback.recipes.methods import METHODS
from driftback.recipes.model import Model, load

STEPS = 32
"""The most steps of the ODE for one likelihood."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """The log-density of `model` at points (n, d) in the units of its data, in nats."""

    model: Model
    low: float
    centre: Tensor
    scale: Tensor
    """Encoded points are (x - centre) * scale."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return tuple(self.centre.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density at `x` (n, d), (n,): at most some 200 evaluations of the network and its derivatives each."""
        z = ((x - self.centre) * self.scale).float()
        spread = self.model.config.spread
        found = ode_log_likelihood(self.model.denoiser, z, spread=spread, low=self.low / spread, most=STEPS)
        return found.nats.to(x.dtype) + float(self.scale.log().sum())

    def score(self, x: Tensor) -> Tensor:
        """The score at the lowest noise level, in the units of the data: the shape of `x`."""
        denoiser = self.model.denoiser
        z = ((x - self.centre) * self.scale).float()
        t = denoiser.process.time_of(self.low)
        alpha = denoiser.process.alpha(t).to(z)
        # D = y + r^2 times the score of y = x_t / alpha (Tweedie).
        return ((denoiser.denoised(alpha * z, t) - z) / self.low**2).to(x.dtype) * self.scale

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """`n` of the model's samples (n, d), by the ODE that its likelihood belongs to."""
        seed = int(as_rng(rng).generator().integers(1 << 31))
        return torch.from_numpy(self.model.sample(n, seed=seed, tolerance=1e-3)).double()

    def start(self, n: int, *, rng: Rng) -> Tensor:
        """`n` of the model's own samples."""
        return self.sample(n, rng=rng)


def source_of(source: Any) -> Any:
    """Something to propose from: a model by its object or folder, or what has `sample` and `log_prob` already."""
    if isinstance(source, str | Path):
        source = load(source, device="cpu")
    return fitted(source, "the model") if isinstance(source, Model) else source


def fitted_problem(folder: Path) -> Problem:
    """The likelihood of the model in `folder`. BadInput for pictures, for data on levels, and for long events."""
    target = fitted(load(folder, device="cpu"), str(folder))
    columns = target.model.config.preprocessing.columns
    return Problem(target, folder.name, names=tuple(columns), source=f"the model in {folder}")


def fitted(model: Model, name: str) -> Fitted:
    """The likelihood of a `model` that is called `name`; BadInput where it is no plain density."""
    prepared, method = model.config.preprocessing, model.config.method
    if METHODS[method].remembers:
        raise BadInput(f"method {method} has no density: its items are points without a width; fit another")
    event = prepared.event
    if len(event) > 1 or event[0] > EXACT_UP_TO or cells(model.config) is not None or prepared.levels is not None:
        raise BadInput(
            f"the likelihood of {name} is no plain density (pictures, discrete values, or more than {EXACT_UP_TO} "
            "numbers an item); draw from a model of continuous points, or use driftback sample"
        )
    zero, one = (prepared.encode(torch.full((1, *event), float(v)).numpy()).double()[0] for v in (0, 1))
    scale = one - zero
    low = max(1e-3 * model.config.spread, lowest_ratio(model.config))
    return Fitted(model, low, -zero / scale, scale)
