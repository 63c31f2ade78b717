"""Random walks in the plane: at each moment a small step in a random direction, dx = dW, and nothing else.

The steps are independent and normal with variance dt, so a walk is within sqrt(t) of its start, one deviation a
coordinate (Einstein 1905, 'On the movement of small particles suspended in a stationary liquid'). Where one walk has
gone cannot be undone; what becomes of the distribution of many can (Anderson 1982).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.gaussian import IsotropicGaussian
from driftback.pictures.film import Film
from driftback.pictures.scene import Paths, Points, Scene, around, squared
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.samplers.euler_maruyama import EulerMaruyama

FRAMES, WALKS, STEPS = 60, 14, 5
"""Steps between two frames."""
PLAIN = Subject("a normal law", IsotropicGaussian((2,), 1.5), np.zeros(2), np.ones(2))
"""Where walks start that are told no target; they take one unit of time, and with a target its variance."""


@dataclass(frozen=True)
class PureNoise:
    """dx = dW: no drift, and a diffusion coefficient of 1."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """Zeros in the shape of `x`."""
        return torch.zeros_like(x)

    def diffusion(self, t: Tensor) -> Tensor:
        """Ones in the shape of `t`."""
        return torch.ones_like(t)


def make(options: Options) -> Film:
    """Walks from normal points, or from those of `options.target`."""
    count, rng = options.frames or FRAMES, options.rng(SHOW.name)
    about = PLAIN if options.target is None else subject(options.target, options.columns)
    start = about.sample(WALKS, rng=rng.child("start"))
    times = torch.linspace(0, 1, STEPS * (count - 1) + 1, dtype=torch.float64)
    ways = torch.stack([frame.x for frame in EulerMaruyama(PureNoise())(start, times, rng=rng)], 1)
    return Film(SHOW.name, tuple(_scenes(about, about.outside(ways))), count)


def _scenes(about: Subject, lines: np.ndarray) -> Iterator[Scene]:
    """The walks (n, steps + 1, 2), from frame to frame `STEPS` steps longer."""
    limits = around(lines.reshape(-1, 2), share=0.0)
    limits = squared(limits) if about.equal else limits
    last = lines.shape[1] - 1
    for k in range(0, last + 1, STEPS):
        layers = (
            Paths(lines[:, : k + 1], "made", 0.9, 0.75),
            Points(lines[:, k], "made", 3.5, 1.0),
            Points(lines[:, 0], "start", 6.0, 1.0),
        )
        panel = about.panel(*layers, limits=limits)
        yield Scene((panel,), "Random walks; the red dots are where they start", f"t = {k / last:.2f}")


SHOW = Show(
    "random-walk",
    "Pure noise, dx = dW: where one walk has gone cannot be undone",
    "Einstein 1905; Anderson 1982, Reverse-time diffusion equation models",
    make,
    place=3,
)
