"""The way back, twice from one start: by Anderson's SDE, and by the ODE that has the same densities at every time.

dx = [f - (1 + eta^2)/2 g^2 grad log p_t] dt + eta g dW with eta = 1 and eta = 0 (Anderson 1982; Song et al. 2021, arXiv
2011.13456, equations 6 and 13), with the exact score. Single ways are rough or smooth, and end elsewhere; the clouds
are alike all the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from driftback.pictures.film import Film
from driftback.pictures.scene import Paths, Points, Scene
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.grids import cosine
from driftback.samplers.multistep import Multistep

FRAMES, POINTS, WAYS, STEPS = 60, 300, 4, 118
"""Ways that leave a line, and steps at least."""
TITLES = (("the reverse SDE", 1.0), ("the probability-flow ODE", 0.0))
"""And the noise of each, eta."""


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    each = stride(STEPS, count)
    denoiser, times = about.denoiser(process), cosine(process, each * (count - 1))
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start")).double()
    both = [Multistep(denoiser, 2, noise=noise)(start, times, rng=rng) for _, noise in TITLES]
    trails = torch.empty(len(both), WAYS, len(times), 2, dtype=torch.float64)
    score = "exact score" if about.law is not None else f"exact score of {len(about.cloud):,} recorded points"
    for k, pair in enumerate(zip(*both, strict=True)):
        trails[:, :, k] = torch.stack([frame.x[:WAYS] for frame in pair])
        if k % each:
            continue
        t = pair[0].t
        density = about.noised(process, t)
        panels = []
        for (title, _), frame, trail in zip(TITLES, pair, trails, strict=True):
            lines = about.outside(trail[:, : k + 1])
            points = Points(about.outside(frame.x), "made", 2.6, 0.7)
            ways = Paths(lines, "other", 0.8, 0.65)
            panels.append(about.panel(density, points, ways, Points(lines[:, 0], "start", 5.0, 1.0), title=title))
        yield Scene(tuple(panels), f"Back to {about.name} from one start, with the {score}", f"t = {t:.2f}")


SHOW = Show(
    "way-back",
    "One start, two ways back: the SDE's are rough, the ODE's smooth, and their clouds agree",
    "Anderson 1982; Song et al. 2021, arXiv 2011.13456, equations 6 and 13",
    make,
    place=6,
)
