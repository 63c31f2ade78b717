"""Three ways to move one cloud to a target: many Markov chains, the reverse SDE, and an optimal map.

A chain asks the density once a move, and its law nears the target's; of two Gaussians each mode has chains that begin
beside it. What has no density everywhere is smoothed for the chains, which their title says.
The SDE asks the score once a step, and arrives at its end. The map asks nothing, for it is given points of the target:
it pairs each point of the start with one of them so that the sum of the squared distances is the least (Kuhn 1955,
Naval Research Logistics Quarterly 2), and each goes straight and evenly, x_s = (1 - s) x + s T(x) (McCann 1997,
Advances in Mathematics 128; Villani 2003, 'Topics in Optimal Transportation', chapter 5).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from driftback.pictures.film import Film
from driftback.pictures.scene import Paths, Points, Scene
from driftback.pictures.shows.apart import apart
from driftback.pictures.shows.reached import reached
from driftback.pictures.shows.show import Options, Show, stride
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.grids import cosine
from driftback.samplers.markov.chain import moves
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.metropolis import Metropolis, RandomWalk
from driftback.samplers.markov.noise import Noise
from driftback.samplers.multistep import Multistep

FRAMES, POINTS, WAYS, STEPS, STEP = 60, 256, 6, 59, 0.5
"""Points of each cloud, ways that leave a line, evaluations at least, and the deviation of a chain's proposal beside
that of the data.
"""
TITLES = ("the reverse SDE", "an optimal map")
TIMES, FLOORS = 4, 8
"""The distance is to so many times as many points of the target; its own draws are that far off in the mean of so many.
"""


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def ways(about: Subject, options: Options, steps: int) -> list[Tensor]:
    """The ways z (steps + 1, POINTS, 2) of the chains, of the SDE and of the map, from one start."""
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    times = cosine(process, steps)
    start = process.simple_at(float(times[0])).sample(POINTS, rng=rng.child("start")).double()
    kernel = Metropolis(Energy(reached(about, everywhere=True)[0]), RandomWalk(torch.tensor(STEP, dtype=torch.float64)))
    chains = moves(kernel, kernel.begin(start), Noise(rng.child("chain"), POINTS), steps)
    sde = Multistep(about.denoiser(process), 2, noise=1.0)(start, times, rng=rng.child("sde"))
    end = assigned(start, about.sample(POINTS, rng=rng.child("end")))
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:, None, None]
    return [
        torch.stack([start, *(state.x for state, _ in chains)]),
        torch.stack([frame.x for frame in sde]),
        (1 - share) * start + share * end,
    ]


def assigned(x: Tensor, y: Tensor) -> Tensor:
    """The rows of `y` (n, d) in the order in which they are nearest to those of `x` (n, d), all squares together."""
    _, columns = linear_sum_assignment(torch.cdist(x, y).square().numpy())
    return y[columns]


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    each = stride(STEPS, count)
    steps, rng = each * (count - 1), options.rng(SHOW.name)
    all_ways = ways(about, options, steps)
    real = about.sample(TIMES * POINTS, rng=rng.child("real"))
    density = about.density()
    floor = sum(apart(about.sample(POINTS, rng=rng.child("drawn", k)), real) for k in range(FLOORS)) / FLOORS
    caption = f"To {about.name}; its own draws are off by {floor:.2f}"
    smoothed = reached(about, everywhere=True)[1] > 0
    titles = ("Metropolis chains, smoothed" if smoothed else "Metropolis chains", *TITLES)
    for k in range(0, steps + 1, each):
        panels, off = [], []
        for title, way in zip(titles, all_ways, strict=True):
            off.append(f"{apart(way[k], real):.2f}")
            x = about.outside(way[: k + 1])
            trails = x[:, :WAYS].swapaxes(0, 1)
            points, lines = Points(x[k], "made", 2.8, 0.75), Paths(trails, "other", 0.8, 0.7)
            panels.append(about.panel(density, points, lines, Points(trails[:, 0], "start", 5.0, 1.0), title=title))
        yield Scene(tuple(panels), caption, f"evaluation {k}: off by {', '.join(off)}")


SHOW = Show(
    "race",
    "A chain, a diffusion and an optimal map race from one cloud to one target",
    "Metropolis et al. 1953; Song et al. 2021, arXiv 2011.13456; Kuhn 1955; McCann 1997",
    make,
    place=8,
)
