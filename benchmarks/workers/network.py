"""A learned picture model as a problem of the solvers' benchmark: where do its ways end?

Points are rows of float64, in units in which the data's standard deviation is `SPREAD`, so that every library's walk
from noise of 80 is as for the mixtures. The network itself computes in float32, and its pictures have classes that are
drawn with their frequencies. The truth is the model's own: Heun's rule in 1,000 steps, then one more evaluation that
denoises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.recipes.model import Model, load
from workers.mixtures import HIGH, SPREAD

LOW = 0.002
STEPS = 1000


@cache
def loaded(folder: str) -> Model:
    """The model in `folder`, loaded once."""
    return load(folder)


@dataclass(frozen=True)
class Pictures:
    """`seeds` sets of `points` pictures of the model in `folder`, each from noise of its own.

    With `other` they are further pictures, for the choice of settings.
    """

    folder: str
    seeds: int
    points: int
    other: bool = False

    @property
    def model(self) -> Model:
        """The model."""
        return loaded(self.folder)

    @property
    def unit(self) -> float:
        """One of our units in the model's."""
        return self.model.config.spread / SPREAD

    @property
    def dimension(self) -> int:
        """Coordinates of a picture."""
        return math.prod(self.model.config.preprocessing.internal_event)

    @cached_property
    def start(self) -> Tensor:
        """Noise of standard deviation 80: float64 (seeds x points, dimension)."""
        shape = (self.seeds * self.points, self.dimension)
        return HIGH * Rng(int(self.other)).child("pictures").normal(shape, dtype=torch.float64)

    @cached_property
    def labels(self) -> Tensor | None:
        """The class of each, int64."""
        drawn = self.model.labels(self.seeds * self.points, seed=int(self.other))
        return None if drawn is None else torch.from_numpy(drawn)

    @torch.no_grad()
    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """The network's D(x; sigma), of the shape and dtype of `x`."""
        model = self.model
        model.denoiser.network.eval()
        known = model.denoiser if self.labels is None else model.denoiser.given(self.labels)
        inside = (x * self.unit).float().reshape(-1, *model.config.preprocessing.internal_event)
        out = known.denoised(inside, model.denoiser.process.time_of(torch.tensor(sigma * self.unit).double()))
        return (out.flatten(1).double() / self.unit).to(x.dtype)

    def truth(self) -> Tensor:
        """Where 1,000 steps lead: (seeds x points, dimension)."""
        sigmas = torch.linspace(HIGH ** (1 / 7), LOW ** (1 / 7), STEPS + 1, dtype=torch.float64) ** 7
        x = self.start
        for now, after in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            slope = (x - self.denoised(x, now)) / now
            guess = x + (after - now) * slope
            x = x + (after - now) / 2 * (slope + (guess - self.denoised(guess, after)) / after)
        return self.denoised(x, LOW)

    def errors(self, x: Tensor, truth: Tensor) -> list[float]:
        """Root mean square of `x - truth` in standard deviations of the data, one number per seed."""
        square = (x.double() - truth).square().reshape(self.seeds, -1)
        return (square.mean(1).sqrt() / SPREAD).tolist()
