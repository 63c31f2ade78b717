"""The score as arrows: at each time and place, the direction in which the noised density rises fastest.

sigma_t grad log p_t(x) = -E[eps | x_t = x] leads to where the noise is taken away, alpha_t E[x_0 | x_t] (Tweedie; Efron
2011). It tells all of a density but its constant (Hyvärinen 2005, JMLR 6), and followed through falling noise it makes
samples (Song and Ermon 2019, arXiv 1907.05600). An arrow is r / sqrt(1 + r^2) of a cell of its grid long for
r = |sigma_t grad log p_t|. Points follow the score back by the probability-flow ODE.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from driftback.pictures.film import Film
from driftback.pictures.scene import Arrows, Limits, Points, Scene, centres
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.grids import cosine
from driftback.samplers.multistep import Multistep
from driftback.scores.denoiser import Denoiser

FRAMES, POINTS, STEPS = 50, 120, 98
"""Steps of the ODE at least."""
ARROWS = 15
"""Arrows each way."""
LEAST = 0.1
"""The least ratio of noise to data: without noise, recorded points have no score."""


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    denoiser, each = about.denoiser(process), stride(STEPS, count)
    times = cosine(process, each * (count - 1), low=LEAST, end=LEAST)
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng).double()
    exact = "score" if about.law is not None else f"score of {len(about.cloud):,} points"
    for frame in islice(Multistep(denoiser, 2)(start, times), 0, None, each):
        arrows = field(about, denoiser, frame.t, about.limits)
        points = Points(about.outside(frame.x), "made", 3.0, 0.8)
        panel = about.panel(about.noised(process, frame.t), arrows, points)
        yield Scene((panel,), f"The {exact} leads back to {about.name}", f"t = {frame.t:.2f}")


def field(about: Subject, denoiser: Denoiser, t: float, limits: Limits) -> Arrows:
    """Arrows at the middles of `ARROWS` by `ARROWS` cells of `limits`, each along the score at time `t` and within its
    cell.
    """
    places = centres(limits, ARROWS)
    z = about.inside(torch.from_numpy(places))
    v = -denoiser.noise(z, t).numpy()
    long = np.linalg.norm(v, axis=1, keepdims=True)
    left, right, bottom, top = limits
    cell = min((right - left) / about.scale[0], (top - bottom) / about.scale[1]) / ARROWS
    v = v * cell / np.sqrt(1 + long**2) * about.scale
    return Arrows(places - v / 2, v, "data", 0.85)


SHOW = Show(
    "score-field",
    "The score points to where noise came from: arrows that turn as noise becomes data",
    "Hyvärinen 2005, JMLR 6; Song and Ermon 2019, arXiv 1907.05600",
    make,
    place=5,
)
