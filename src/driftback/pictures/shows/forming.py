"""A model's items form from noise: all from one seed, along the probability-flow ODE.

dx = [f - g^2 grad log p_t / 2] dt backwards (Song et al. 2021, arXiv 2011.13456, equation 13), by Heun's rule in equal
steps of the angle arctan(sigma / alpha), and x_t shrunk to the deviation of the data, so that what forms fills the
film. Without a model it is one that is there in seconds: of digits, the exact score of a mixture of Gaussians that is
fitted to each of their classes, or of a target in the plane, a small network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from driftback.data.loading import load
from driftback.data.preprocessing import Preprocessing
from driftback.distributions.low_rank import LowRankMixture
from driftback.distributions.low_rank_fit import Shape, fitted
from driftback.distributions.mixture import Mixture
from driftback.pictures.film import Film
from driftback.pictures.filmed import scenes
from driftback.pictures.scene import Points, Scene
from driftback.pictures.shows.learned import learned
from driftback.pictures.shows.show import Fitted, Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.pictures.way import Way, shrinking
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.samplers.grids import cosine
from driftback.samplers.heun import Heun
from driftback.scores.exact import ExactDenoiser

FRAMES, STEPS = 49, 48
"""Steps at least, however few frames are shown of them."""
PICTURES, POINTS = 36, 500
MOST = 24
"""Letters of a model's name."""
RANK, EACH = 40, 6
"""Directions of the mixture of digits, and components for each of their classes."""


def make(options: Options) -> Film:
    """The film of `options.model`, of `options.target`, or of digits."""
    count = options.frames or FRAMES
    each = stride(STEPS, count)
    if options.target is not None:
        about = subject(options.target, options.columns)
        return Film(SHOW.name, _in_the_plane(about, options, count, each), count)
    model = options.model or _digits(options.rng(SHOW.name))
    pictures = model.prepared.kind == "pictures"
    way = model.back(PICTURES if pictures else POINTS, options.seed, each * (count - 1))
    items = "pictures" if pictures else "points"
    # What remembers returns what is known.
    new = f"New {items}" if model.density else items.capitalize()
    caption = f"{new}, by a model of {model.name[:MOST]}" if options.model else f"New digits, {model.name}"
    return Film(SHOW.name, _of_model(way, options, count, each, caption), count)


def _of_model(way: Way, options: Options, count: int, each: int, caption: str) -> Iterator[Scene]:
    # Pictures are shrunk where they are made into tiles; points here.
    shrink = way.prepared.kind != "pictures"
    frames = (way.shrunk(frame) if shrink else frame for frame in islice(way, 0, None, each))
    return scenes(replace(way, frames=frames), columns=options.columns, most=count + 1, caption=caption)


def _digits(rng: Rng) -> Fitted:
    """scikit-learn's digits by the exact score of a mixture fitted to them: a model that is there in a second."""
    data = load("digits")
    prepared = Preprocessing.fit(data)
    x, label = prepared.encode(data.x).float(), torch.as_tensor(data.y)
    classes, shape = len(data.classes), Shape(RANK, EACH * len(data.classes), shared=False)
    law = fitted(x.flatten(1), label, classes, shape, rng=rng.child("mixture"))
    process = Diffusion(EDM(), tuple(x.shape[1:]), spread=float(x.std()))
    denoiser = ExactDenoiser(process, full(law), torch.arange(classes).repeat_interleave(EACH))

    def back(n: int, seed: int, steps: int) -> Way:
        times, asked = cosine(process, steps, low=0.01 * process.spread), torch.arange(n) % classes
        start = process.simple_at(float(times[0])).sample(n, rng=Rng(seed).child("sample")).double()
        words = tuple(str(data.classes[k]) for k in asked.tolist())
        return Way(Heun(denoiser.given(asked))(start, times), prepared, process, words)

    return Fitted("by a fitted mixture", denoiser, prepared, back)


def full(law: LowRankMixture) -> Mixture:
    """The same as a mixture with full covariances, without the classes, in float64."""
    basis, axes = law.basis.double(), law.axes.double()
    within = axes * law.variances.double()[:, None, :] @ axes.mT
    outside = float(law.rest) * (torch.eye(len(basis), dtype=torch.float64) - basis @ basis.T)
    weights = law.log_weights[-1].double().exp()
    return Mixture(weights, law.mean + law.centres.double() @ basis.T, basis @ within @ basis.T + outside)


def _in_the_plane(about: Subject, options: Options, count: int, each: int) -> Iterator[Scene]:
    rng = options.rng(SHOW.name)
    denoiser = learned(about, rng=rng)
    process, caption = denoiser.process, f"{about.name}, by a network fitted in seconds"
    times = cosine(process, each * (count - 1))
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start"))
    for frame in islice(Heun(denoiser)(start, times), 0, None, each):
        x = about.outside(frame.x.double() * shrinking(process, frame.t))
        panel = about.panel(Points(x, "made", 2.8, 0.8))
        yield Scene((panel,), caption[:1].upper() + caption[1:], f"t = {frame.t:.3g}")


SHOW = Show(
    "forming",
    "A model's new items form from noise: pictures, points, or the rows of your own table",
    "Song et al. 2021, arXiv 2011.13456, equation 13",
    make,
    place=12,
    models=True,
)
