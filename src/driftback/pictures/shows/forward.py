"""Order dissolves into noise: points moved by two forward SDEs, over the exact densities of where they are.

Pure noise, dx = g(t) dW, widens a distribution until its shape is lost; a pull to the middle, dx = -beta(t) x / 2 dt +
sqrt(beta(t)) dW, keeps its width and ends in one normal law. Both carry a mixture of Gaussians through mixtures, p_t =
sum_k w_k N(alpha m_k, alpha^2 S_k + sigma^2 I) (Song et al. 2021, arXiv 2011.13456, equation 5 and section 3.4;
Sohl-Dickstein et al. 2015, arXiv 1503.03585), and where sigma / alpha is the same they differ in scale alone. The
particles know nothing of the densities, and follow them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from driftback.pictures.film import Film
from driftback.pictures.scene import Points, Scene
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, VP
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.grids import cosine

FRAMES, POINTS, STEPS = 60, 300, 300
"""Steps of each SDE at least."""
END = 3.0
"""There is so many times as much noise as data at the end: two Gaussians are one to the eye."""
TITLES = ("pure noise: dx = g dW", "with a pull: dx = -β x/2 dt + √β dW")


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    rng, each = options.rng(SHOW.name), stride(STEPS, count)
    start = about.sample(POINTS, rng=rng.child("start"))
    processes = Diffusion(EDM(), (2,)), Diffusion(VP(), (2,))
    limits = about.reach((1 + END**2) ** 0.5), about.limits
    # Equal steps of the angle arctan(sigma / alpha) for both, so that the melting fills the film.
    ways = [
        EulerMaruyama(process)(start, cosine(process, each * (count - 1), high=END).flip(0), rng=rng.child(title))
        for process, title in zip(processes, TITLES, strict=True)
    ]
    for frames in islice(zip(*ways, strict=True), 0, None, each):
        panels = tuple(
            about.panel(
                about.noised(process, frame.t, limits=limit),
                Points(about.outside(frame.x), "made", 2.6, 0.75),
                title=title,
                limits=limit,
            )
            for process, title, limit, frame in zip(processes, TITLES, limits, frames, strict=True)
        )
        ratio = float(processes[0].ratio(frames[0].t))
        yield Scene(panels, f"Noise melts {about.name} nearly into one Gaussian", f"noise / data = {ratio:.2f}")


SHOW = Show(
    "forward",
    "The forward SDE melts any distribution nearly into one Gaussian, particle by particle",
    "Sohl-Dickstein et al. 2015, arXiv 1503.03585; Song et al. 2021, arXiv 2011.13456, equation 5",
    make,
    place=4,
)
