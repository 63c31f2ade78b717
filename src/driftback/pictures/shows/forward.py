"""Order dissolves into noise: points moved by the forward SDE, over the exact density of where they are.

dx = f(t) x dt + g(t) dW carries a mixture of Gaussians through mixtures, p_t = sum_k w_k N(alpha m_k, alpha^2 S_k +
sigma^2 I), to a normal distribution (Song et al. 2021, arXiv 2011.13456, equation 5 and section 3.4; Sohl-Dickstein et
al. 2015, arXiv 1503.03585). The particles know nothing of the density, and follow it.
"""

from __future__ import annotations

from collections.abc import Iterator

from driftback.pictures.film import Film
from driftback.pictures.scene import Panel, Points, Scene
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.grids import cosine

FRAMES, POINTS, STEPS = 60, 300, 300
"""Steps of the SDE at least, however few frames are shown of them."""
END = 20.0
"""There is so many times as much noise as data at the end."""


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    start = about.sample(POINTS, rng=rng.child("start"))
    # Equal steps of the angle arctan(sigma / alpha), so that the melting fills the film; the time is the SDE's own.
    each = -(-STEPS // (count - 1))
    times = cosine(process, each * (count - 1), high=END).flip(0)
    for k, frame in enumerate(EulerMaruyama(process)(start, times, rng=rng)):
        if k % each:
            continue
        density = about.density(float(process.alpha(frame.t)), float(process.sigma(frame.t)))
        layers = density, Points(about.outside(frame.x), "made", 3.2, 0.8)
        panel = Panel(layers, about.limits, names=about.names, equal=about.equal)
        yield Scene((panel,), f"Noise melts {about.name} into one Gaussian", f"t = {frame.t:.2f}")


SHOW = Show(
    "forward",
    "The forward SDE melts any distribution into a Gaussian, particle by particle",
    "Sohl-Dickstein et al. 2015, arXiv 1503.03585; Song et al. 2021, arXiv 2011.13456, equation 5",
    make,
    place=4,
)
