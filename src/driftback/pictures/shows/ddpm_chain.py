"""DDPM's chain seen as the reverse SDE through a comb: with more steps its paths and its end are those of the SDE.

The chain of T betas has the noise levels of the variance-preserving SDE at the times k / T, and goes back to the mean
of q(x_{k-1} | x_k, x_0 = D) and fresh noise (Ho et al. 2020, arXiv 2006.11239, equations 4, 6 and 7; Song et al. 2021,
arXiv 2011.13456, section 3.4). In the clock of the signal-to-noise ratio 1 / r^2 all have one Brownian motion, so a
chain's path is the SDE's with D held still through each step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from driftback.pictures.film import Film
from driftback.pictures.scene import Density, Panel, Paths, Points, Scene
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.processes.ddpm import DiscreteChain, betas_of
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.frame import Frame
from driftback.samplers.grids import uniform
from driftback.samplers.multistep import Multistep

FRAMES, POINTS, WAYS = 60, 64, 3
"""Points of each cloud, and of these so many that leave a line."""
CHAINS, FINE = (10, 50, 1000), 1000
"""Steps of the chains, and of the SDE, whose rule is of second order."""
COLUMNS, ROOM = 40, 0.03
"""Times at which the density is drawn, and room at both ends of them."""


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, _scenes(about, options, count), count)


def ways(about: Subject, options: Options) -> tuple[Tensor, list[Tensor]]:
    """The SDE's ways z (FINE + 1, POINTS, 2), and those of the chains (steps + 1, POINTS, 2), from one start."""
    process, rng = Diffusion(VP(), (2,)), options.rng(SHOW.name)
    start = process.simple.sample(POINTS, rng=rng.child("start")).double()

    def stacked(frames: Iterator[Frame]) -> Tensor:
        return torch.stack([frame.x for frame in frames])

    chains = []
    for steps in CHAINS:
        chain = DiscreteChain(betas_of(VP(), steps))
        denoiser = about.denoiser(Diffusion(chain, (2,)))
        chains.append(stacked(Ancestral(denoiser, 1.0)(start, chain.times, rng=rng)))
    sde = Multistep(about.denoiser(process), 2, noise=1.0)
    return stacked(sde(start, uniform(process, FINE), rng=rng)), chains


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    sde, chains = ways(about, options)
    density = _through_time(about)
    _, _, bottom, top = density.extent
    limits = -ROOM, 1 + ROOM, bottom, top
    fine = about.outside(sde)[:, :, 0]
    for share in np.linspace(0, 1, count):
        panels, off = [], []
        for way in chains:
            steps = len(way) - 1
            # A chain stands still until its next step.
            k = int(share * steps + 1e-9)
            x = about.outside(way[: k + 1])[:, :, 0]
            layers = (
                density,
                Points(np.stack([np.full(POINTS, k / steps), x[k]], 1), "made", 3.0, 0.5),
                Paths(_lines(x, steps), "made", 2.0, 0.9),
                Paths(_lines(fine[: round(share * FINE) + 1], FINE), "other", 0.6, 1.0),
                Points(_lines(x, steps)[:, 0], "start", 5.0, 1.0),
            )
            panels.append(Panel(layers, limits, f"{steps:,} steps", ("1 - t", about.names[0]), equal=False))
            apart = way[k] - sde[k * FINE // steps]
            off.append(f"{float(apart.square().mean().sqrt()):.2f}")
        moment = f"t = {1 - share:.2f}, apart by {', '.join(off)}"
        yield Scene(tuple(panels), "DDPM's chain (blue) and the SDE (thin)", moment)


def _lines(x: np.ndarray, steps: int) -> np.ndarray:
    """The first few of the ways `x` (corners, n) of so many `steps` to t = 0, as lines over 1 - t."""
    times = np.arange(len(x)) / steps
    return np.stack([np.stack([times, one], 1) for one in x[:, :WAYS].T])


def _through_time(about: Subject) -> Density:
    """The density of the first number at each time: 1 - t across, one column of cells for each of `COLUMNS` times."""
    process, columns = Diffusion(VP(), (2,)), []
    left, right, bottom, top = about.limits
    for share in (np.arange(COLUMNS) + 0.5) / COLUMNS:
        values = about.density(float(process.alpha(1 - share)), float(process.sigma(1 - share))).values
        columns.append(values.sum(0) * (top - bottom) / len(values))
    return Density(np.stack(columns, 1), (0.0, 1.0, left, right))


SHOW = Show(
    "ddpm-chain",
    "DDPM's chain is the reverse SDE in steps: with more of them it takes the same path",
    "Ho et al. 2020, arXiv 2006.11239; Song et al. 2021, arXiv 2011.13456, section 3.4",
    make,
    place=7,
)
