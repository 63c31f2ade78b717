"""A model's items form from noise: all from one seed, along the probability-flow ODE.

dx = [f - g^2 grad log p_t / 2] dt backwards (Song et al. 2021, arXiv 2011.13456, equation 13), by Heun's rule in equal
steps of the angle arctan(sigma / alpha), and x_t shrunk to the deviation of the data, so that what forms fills the
film. Without a model it is one that is there in seconds: of digits, whose score is made of patches of known pictures
without training (Kamb and Ganguli 2024, arXiv 2412.20292), or of a target in the plane, a small network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from driftback.data.loading import load
from driftback.data.preprocessing import Preprocessing
from driftback.distributions.patches import Patches, SizedPatches
from driftback.pictures.film import Film
from driftback.pictures.filmed import scenes
from driftback.pictures.scene import Panel, Points, Scene
from driftback.pictures.shows.learned import learned
from driftback.pictures.shows.show import Fitted, Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.pictures.way import Way
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.samplers.frame import Frame
from driftback.samplers.grids import cosine
from driftback.samplers.heun import Heun

FRAMES, STEPS = 49, 48
"""Steps at least, however few frames are shown of them."""
PICTURES, POINTS = 36, 500
MOST = 24
"""Letters of a model's name."""
KNOWN, LEFT_OUT = 1200, 16
"""Digits that patches are cut from, and those whose errors say how large patches are."""


def make(options: Options) -> Film:
    """The film of `options.model`, of `options.target`, or of digits."""
    count = options.frames or FRAMES
    each = -(-STEPS // (count - 1))
    if options.target is not None:
        about = subject(options.target, options.columns)
        return Film(SHOW.name, _in_the_plane(about, options, count, each), count)
    model = options.model or _digits(options.rng(SHOW.name))
    pictures = model.prepared.kind == "pictures"
    way = model.back(PICTURES if pictures else POINTS, options.seed, each * (count - 1))
    items = "pictures" if pictures else "points"
    caption = f"New {items}, by a model of {model.name[:MOST]}" if options.model else f"New digits, {model.name}"
    return Film(SHOW.name, _of_model(way, options, count, each, caption), count)


def _of_model(way: Way, options: Options, count: int, each: int, caption: str) -> Iterator[Scene]:
    # Pictures are shrunk where they are made into tiles; points here.
    shrink = way.prepared.kind != "pictures"
    frames = (_shrunk(way, frame) if shrink else frame for k, frame in enumerate(way) if k % each == 0)
    return scenes(replace(way, frames=frames), columns=options.columns, most=count + 1, caption=caption)


def _shrunk(way: Way, frame: Frame) -> Frame:
    return replace(frame, x=frame.x * shrinking(way.process, frame.t))


def shrinking(process: Diffusion, t: float) -> float:
    """What brings x_t to the deviation of the data."""
    alpha, sigma, spread = float(process.alpha(t)), float(process.sigma(t)), process.spread
    return float(spread / np.hypot(alpha * spread, sigma))


def _digits(rng: Rng) -> Fitted:
    """scikit-learn's digits by patches of them: a model that takes no training."""
    from driftback.scores.patches import PatchDenoiser

    data = load("digits")
    prepared = Preprocessing.fit(data)
    x = prepared.encode(data.x).float()[torch.from_numpy(rng.child("order").generator().permutation(len(data.x)))]
    spread = float(x.std())
    process = Diffusion(EDM(), tuple(x.shape[1:]), spread=spread)
    few = x[KNOWN : KNOWN + LEFT_OUT]
    sizes = SizedPatches.chosen(Patches(x[:200]), few, spread=spread, rng=rng).sizes
    denoiser = PatchDenoiser(process, SizedPatches(Patches(x[:KNOWN]), sizes, spread))

    def back(n: int, seed: int, steps: int) -> Way:
        times = cosine(process, steps, low=0.01 * spread)
        start = process.simple_at(float(times[0])).sample(n, rng=Rng(seed).child("sample"))
        return Way(Heun(denoiser)(start, times), prepared, process)

    return Fitted(f"by patches of {KNOWN:,} old ones, untrained", denoiser, prepared, back, density=False)


def _in_the_plane(about: Subject, options: Options, count: int, each: int) -> Iterator[Scene]:
    rng = options.rng(SHOW.name)
    denoiser = learned(about, rng=rng)
    process, caption = denoiser.process, f"{about.name}, by a network fitted in seconds"
    times = cosine(process, each * (count - 1))
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start"))
    for frame in (frame for k, frame in enumerate(Heun(denoiser)(start, times)) if k % each == 0):
        x = about.outside(frame.x.double() * shrinking(process, frame.t))
        panel = Panel((Points(x, "made", 2.8, 0.8),), about.limits, names=about.names, equal=about.equal)
        yield Scene((panel,), caption[:1].upper() + caption[1:], f"t = {frame.t:.3g}")


SHOW = Show(
    "forming",
    "A model's new items form from noise: pictures, points, or the rows of your own table",
    "Song et al. 2021, arXiv 2011.13456, equation 13; Kamb et al. 2024, arXiv 2412.20292",
    make,
    place=12,
    models=True,
)
