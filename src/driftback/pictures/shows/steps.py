"""Steps against quality: one start, drawn back in 1, 2, 3, 4 ... steps by several samplers, and how far each ends.

A rule of order p errs by h^p, so its distance to the target falls along a line of slope -p on axes of logarithms, until
what is left is the distance that real points have themselves (Karras et al. 2022, arXiv 2206.00364, section 3; Lu et
al. 2022, arXiv 2211.01095). The score is exact, of the target or of points recorded of it, and the distance, sliced
Wasserstein-1 in deviations of the data, is to draws of the same law: all of the error is the steps'. Heun's rule takes
two evaluations a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch

from driftback.distributions.cloud import Cloud
from driftback.distributions.protocols import Source
from driftback.pictures.film import Film
from driftback.pictures.scene import Curve, Panel, Points, Role, Scene
from driftback.pictures.shows.apart import apart
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.published import SAMPLERS
from driftback.scores.denoiser import Denoiser
from driftback.scores.recorded import RecordedDenoiser

FRAMES, MOST = 32, 64
"""Numbers of steps that are shown, from 1 to the most."""
POINTS, TIMES, SHOWN = 1500, 6, 400
"""Points that are drawn, how many times as many they are compared with, and those that are seen."""
RECORDED, FEW = 800, 400
"""Of a target that is no mixture so many points are recorded, and so many drawn, for each costs more."""
FLOORS = 8
SHOWING: tuple[tuple[str, str, Role], ...] = (
    ("euler", "Euler", "made"),
    ("heun", "Heun", "start"),
    ("dpm-2m", "DPM-Solver++ (2M)", "accepted"),
)
"""Names in the library and in titles, and their roles."""
SECONDS = 0.25
TOP = 1.2
"""The top of the curves, as a logarithm: two steps of Heun's rule from pure noise go far astray."""


def make(options: Options) -> Film:
    """The film of `options.target`, eight Gaussians by default."""
    about = subject(options.target or "eight-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count, SECONDS)


def numbers_of_steps(count: int, most: int = MOST) -> list[int]:
    """`count` numbers of steps from 1 to `most`, or as far as they have to go, each more than the one before: as even
    in their logarithms as whole numbers can be.
    """
    most, steps = max(most, count), [1]
    for left in range(count - 1, 0, -1):
        steps.append(max(steps[-1] + 1, round(steps[-1] * (most / steps[-1]) ** (1 / left))))
    return steps


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(EDM(), (2,), spread=1.0), options.rng(SHOW.name)
    if about.law is not None:
        denoiser: Denoiser = about.denoiser(process)
        points, score, law = POINTS, "exact score", cast("Source", about.law)
    else:
        known = about.inside(torch.from_numpy(about.cloud[:RECORDED]))
        denoiser = RecordedDenoiser(process, known)
        points, score, law = FEW, f"score of {len(known)} points", Cloud(known)
    # What the score is of: for recorded points it is these that are drawn, and none can come nearer.
    real = law.sample(TIMES * points, rng=rng.child("real")).double()
    floor = sum(apart(law.sample(points, rng=rng.child("floor", k)).double(), real) for k in range(FLOORS)) / FLOORS
    all_steps = numbers_of_steps(count)
    # The same start for all, so that only the steps differ.
    start = process.simple_at(1.0).sample(points, rng=rng.child("start")).double()
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in SHOWING}
    right, low = float(np.log10(2 * all_steps[-1])), float(np.log10(floor)) - 0.3
    for steps in all_steps:
        panels = []
        times = karras(process, steps)
        for name, title, role in SHOWING:
            end = last(SAMPLERS[name].make(denoiser)(start, times, rng=rng.child("noise")))
            curves[name].append((float(np.log10(end.evaluations)), float(np.log10(apart(end.x, real)))))
            behind = Points(about.cloud[:SHOWN], "faint", 2.2, 0.9)
            made = Points(about.outside(end.x[:SHOWN]), role, 2.6, 0.8)
            panels.append(about.panel(behind, made, title=title, numbers=False))
        panels.append(_chart(curves, floor, right, low))
        many = "1 step" if steps == 1 else f"{steps} steps"
        yield Scene(tuple(panels), f"Back to {about.name} with the {score}; grey: the target", many, columns=2)


def _chart(curves: dict[str, list[tuple[float, float]]], floor: float, right: float, low: float) -> Panel:
    level = np.log10(np.array([floor, floor]))
    layers: list[Curve | Points] = [Curve(np.array([0.0, right]), level, "other", 1.2)]
    for name, _, role in SHOWING:
        x = np.array(curves[name])
        layers += [Curve(x[:, 0], x[:, 1], role, 1.6), Points(x[-1:], role, 5.0, 1.0)]
    names = "log10 of evaluations", "log10 of distance"
    title = "distance: black, that of fresh draws"
    return Panel(tuple(layers), (-0.05, right + 0.05, low, TOP), title, names, equal=False)


SHOW = Show(
    "steps",
    "Steps against quality: what Euler, Heun and a multistep rule make of as many evaluations",
    "Karras et al. 2022, arXiv 2206.00364, section 3; Lu et al. 2022, arXiv 2211.01095",
    make,
    place=10,
)
