"""A Markov chain whose law is the target's: propose a move, and take it with probability min(1, p(x') / p(x)).

Uphill always, downhill sometimes; where it is not taken the chain stays, and that counts as one more visit (Metropolis
et al. 1953, J. Chem. Phys. 21; Hastings 1970, Biometrika 57, for proposals that are not symmetric). The visits as a
histogram approach the density, and are not independent: a mode that is far is found late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from driftback.pictures.film import Film
from driftback.pictures.scene import Bars, Curve, Density, Limits, Panel, Paths, Points, Scene, around, squared
from driftback.pictures.shows.reached import reached
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.samplers.markov.chain import moves
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.metropolis import Metropolis, RandomWalk
from driftback.samplers.markov.noise import Noise

FRAMES, MOVES, STEP = 72, 2000, 0.8
"""Moves in all, and the deviation of a proposal beside that of the data."""
SEEN, TRAIL, BARS = 16, 40, 32
"""So many proposals are shown, the last ones; so many places are joined by a line."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Where a chain stood, `x` (moves + 1, 2), what it `proposed` (moves, 2), and what it took, `accepted` (moves,)."""

    x: np.ndarray
    proposed: np.ndarray
    accepted: np.ndarray


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, tuple(_scenes(about, options, count)), count, seconds=0.1)


def ran(about: Subject, options: Options, count: int = FRAMES) -> tuple[Chain, float]:
    """A chain from one point of the data, in the units of x, of `MOVES` or as many as `count` frames show, and how much
    the density was smoothed for it.
    """
    rng = options.rng(SHOW.name)
    target, smoothing = reached(about)
    proposal = RandomWalk(torch.tensor(STEP, dtype=torch.float64))
    kernel, noise = Metropolis(Energy(target), proposal), Noise(rng, 1)
    state = kernel.begin(about.sample(1, rng=rng.child("start")))
    x, proposed, accepted = [state.x], [], []
    for k, (after, move) in enumerate(moves(kernel, state, noise, max(MOVES, count - 1))):
        # The kernel does not tell what it left; the same noise proposes it again.
        proposed.append(proposal.propose(state, noise.at(k)))
        accepted.append(bool(move.accepted))
        x.append(after.x)
        state = after
    places, wanted = (about.outside(torch.cat(parts)) for parts in (x, proposed))
    return Chain(places, wanted, np.array(accepted)), smoothing


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    chain, smoothing = ran(about, options, count)
    limits = _limits(about, chain)
    density = about.density(sigma=smoothing, limits=limits)
    words = f"smoothed points of {about.name}" if smoothing else about.name
    # Move by move at first, and faster and faster.
    shares = np.linspace(0, 1, count) ** 3
    for k in np.maximum(np.arange(count), np.rint(len(chain.accepted) * shares)).astype(int):
        first = max(0, k - SEEN)
        wanted, taken = chain.proposed[first:k], chain.accepted[first:k]
        lines = np.stack([chain.x[first:k], wanted], 1)
        place = chain.x[k : k + 1]
        plane = (
            density,
            Paths(chain.x[None, max(0, k - TRAIL) : k + 1], "made", 0.9, 0.6),
            Paths(lines[~taken], "rejected", 0.7, 0.7),
            Points(wanted[~taken], "rejected", 4.5, 0.9),
            Points(wanted[taken], "accepted", 4.5, 0.9),
            Points(place, "start", 7.0, 1.0),
        )
        share = f"{chain.accepted[:k].mean():.0%} accepted" if k else "the start"
        panels = (
            Panel(plane, limits, "proposals: green accepted, pink rejected", about.names, about.equal),
            _visits(density, chain.x[: k + 1], about.names[0]),
        )
        yield Scene(panels, f"A Metropolis chain on {words}", f"move {k:,}, {share}")


def _limits(about: Subject, chain: Chain) -> Limits:
    """Those of the target, wide enough for nearly all that is proposed."""
    both = np.array([about.limits, around(chain.proposed, share=0.005, room=0.0)])
    left, right, bottom, top = (*both[:, :2].T, *both[:, 2:].T)
    limits = float(left.min()), float(right.max()), float(bottom.min()), float(top.max())
    return squared(limits) if about.equal else limits


def _visits(density: Density, x: np.ndarray, name: str) -> Panel:
    """How often a chain was where, by its first number, and the density of that."""
    left, right, bottom, top = density.extent
    exact = density.values.sum(0) * (top - bottom) / len(density.values)
    across = left + (right - left) * (np.arange(len(exact)) + 0.5) / len(exact)
    edges = np.linspace(left, right, BARS + 1)
    heights = np.histogram(x[:, 0], edges)[0] / (len(x) * (edges[1] - edges[0]))
    high = 1.6 * float(exact.max())
    layers = (
        Bars(edges, heights, "made", 0.6),
        Curve(across, exact),
        Points(np.array([[x[-1, 0], 0.0]]), "start", 7.0, 1.0),
    )
    return Panel(layers, (left, right, -0.03 * high, high), "how often it was where", (name, ""), equal=False)


SHOW = Show(
    "metropolis",
    "Uphill always, downhill sometimes: a chain whose visits are the density, after many moves",
    "Metropolis et al. 1953, J. Chem. Phys. 21; Hastings 1970, Biometrika 57",
    make,
    place=2,
)
