"""The exact score of a few recorded points returns the points themselves; what is smoothed does not.

E[x_0 | x_t] of a recorded cloud is a mean of its points, weighted by exp(-|x_t - alpha x_i|^2 / (2 sigma^2)): as sigma
falls it is one of them, and every way ends there (Karras et al. 2022, arXiv 2206.00364, appendix B.3). The mean of that
denoiser over places near by ends between the points (Scarvelis et al. 2023, arXiv 2310.12395), and so does a network
that is fitted to them and stops short of what it is fitted to. All begin at one start, and only two make anything new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from driftback.errors import BadInput
from driftback.pictures.film import Film
from driftback.pictures.scene import Points, Scene
from driftback.pictures.shows.learned import learned_of
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.grids import cosine
from driftback.samplers.heun import Heun
from driftback.scores.recorded import RecordedDenoiser
from driftback.scores.smoothed import SmoothedDenoiser

FRAMES, STEPS = 50, 98
KNOWN, POINTS = 40, 300
"""Points that are recorded, and those that come back."""
WIDTH = 0.5
"""The cloud is smoothed by so much of the distance from a recorded point to its nearest, in the mean."""
DRAWS = 16
COPY = 0.05
"""A copy is nearer to a recorded point than such a share of that distance: of fresh draws about one in 300 is."""


def make(options: Options) -> Film:
    """The film of `KNOWN` points of `options.target`, two moons by default."""
    about = subject(options.target or "two-moons", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    known = about.sample(KNOWN, rng=rng.child("known")).unique(dim=0)
    if len(known) < 2:
        raise BadInput(f"{about.name} is one point again and again, so nothing lies between; give different points")
    apart = _apart(known)
    recorded = RecordedDenoiser(process, known)
    each = stride(STEPS, count)
    times = cosine(process, each * (count - 1))
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start")).double()
    smoothed = SmoothedDenoiser(recorded, WIDTH * apart, DRAWS, options.seed)
    network = learned_of(known, replace(process, spread=1.0), rng=rng.child("network"))
    exact = (Heun(denoiser, correct=False)(start, times) for denoiser in (recorded, smoothed))
    ways = [*exact, Heun(network, correct=False)(start.float(), times)]
    titles = f"exact score of {len(known)} points", "the same, smoothed", "a network fitted to them"
    for pair in islice(zip(*ways, strict=True), 0, None, each):
        # A point in noise is a copy of none.
        arrived = pair[0].t == float(times[-1])
        found = [copies(frame.x, known, COPY * apart) & arrived for frame in pair]
        panels = tuple(
            about.panel(*_layers(about, frame.x, copied, known), title=title)
            for frame, copied, title in zip(pair, found, titles, strict=True)
        )
        told = ", ".join(f"{100 * copied.mean():.0f} %" for copied in found)
        moment = f"copies (red): {told}" if arrived else f"t = {pair[0].t:.2f}"
        yield Scene(panels, f"{about.name[:1].upper()}{about.name[1:]}: three ways back from one start", moment)


def _layers(about: Subject, x: Tensor, copied: np.ndarray, known: Tensor) -> tuple[Points, ...]:
    here = about.outside(x)
    return (
        Points(about.outside(known), "other", 2.6, 0.9),
        Points(here[~copied], "made", 2.8, 0.8),
        Points(here[copied], "start", 5.0, 0.9),
    )


def _apart(known: Tensor) -> float:
    """The mean distance of the points (m, 2) to their nearest."""
    return float(cKDTree(known.numpy()).query(known.numpy(), k=2)[0][:, 1].mean())


def copies(x: Tensor, known: Tensor, near: float) -> np.ndarray:
    """Which of `x` (n, 2) lie within `near` of one of `known` (m, 2)."""
    return np.asarray(cKDTree(known.numpy()).query(x.numpy())[0] < near)


SHOW = Show(
    "memorising",
    "The exact score of recorded points returns them; smoothed, or a network's, it makes new ones",
    "Karras et al. 2022, arXiv 2206.00364, appendix B.3; Scarvelis et al. 2023, arXiv 2310.12395",
    make,
    place=14,
)
