"""A condition bends the way back: one start, without and with something seen of the point, y = a . z + noise.

The score of what is left is that of the target plus that of the observation, grad log p_t(x) + grad log p_t(y | x)
(Sohl-Dickstein et al. 2015, arXiv 1503.03585, section 2.5; Song et al. 2021, arXiv 2011.13456, section 5). Here it is
exact: a mixture seen so is a mixture with other weights, means and covariances; recorded points are drawn again by how
well each explains y.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.cloud import Cloud
from driftback.distributions.mixture import Mixture
from driftback.distributions.observed import observed
from driftback.pictures.film import Film
from driftback.pictures.scene import Curve, Points, Scene
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.randomness import Rng
from driftback.samplers.grids import cosine
from driftback.samplers.multistep import Multistep

FRAMES, POINTS, STEPS = 60, 300, 118
"""Steps of the ODE at least."""
SEEN, NOISE = 0.12, 0.15
"""What is seen: this value along the diagonal of z, to so many deviations."""
TITLES = ("what may come", "given what is seen: the line")


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    both, each = (about, given(about, rng.child("again"))), stride(STEPS, count)
    times = cosine(process, each * (count - 1))
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start")).double()
    ways = [Multistep(one.denoiser(process), 2)(start, times) for one in both]
    # The points z with a . z = y, far enough for any picture.
    along = np.array([[-9.0, 9.0], [9.0, -9.0]])
    seen = about.outside(SEEN * diagonal().numpy() + along)
    for pair in islice(zip(*ways, strict=True), 0, None, each):
        panels = []
        for one, frame, title in zip(both, pair, TITLES, strict=True):
            line = Curve(seen[:, 0], seen[:, 1], "other", 1.0, 0.8 if one is not about else 0.0)
            points = Points(about.outside(frame.x), "made", 2.6, 0.75)
            panels.append(about.panel(one.noised(process, frame.t, limits=about.limits), points, line, title=title))
        seen_is = "the sum of both numbers" if about.equal else "both numbers, each in its deviations, as a sum"
        yield Scene(tuple(panels), f"Back to {about.name}, given {seen_is}", f"t = {pair[0].t:.2f}")


def diagonal() -> Tensor:
    """a, the direction (2,) in which z is seen."""
    return torch.full((2,), 0.5**0.5, dtype=torch.float64)


def given(about: Subject, rng: Rng) -> Subject:
    """`about` after a . z = `SEEN` was seen to `NOISE` deviations, in its own units."""
    if about.law is not None:
        law = observed(about.law, diagonal()[None], torch.tensor([SEEN], dtype=torch.float64), NOISE)
        scale, means = torch.from_numpy(about.scale), torch.from_numpy(about.outside(law.means))
        return replace(
            about, source=Mixture(law.weights, means, law.covariances * torch.outer(scale, scale)), known=None
        )
    points = torch.from_numpy(about.cloud)
    weights = torch.softmax(-((about.inside(points) @ diagonal() - SEEN) ** 2) / (2 * NOISE**2), 0)
    chosen = torch.searchsorted(weights.cumsum(0), rng.uniform((len(points),), dtype=torch.float64) * weights.sum())
    return replace(about, source=Cloud(points[chosen.clamp(max=len(points) - 1)]), known=None)


SHOW = Show(
    "posterior",
    "A condition bends the way back: one start, without and with something seen",
    "Sohl-Dickstein et al. 2015, arXiv 1503.03585; Song et al. 2021, arXiv 2011.13456, section 5",
    make,
    place=13,
)
