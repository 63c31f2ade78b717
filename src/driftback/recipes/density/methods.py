"""The methods of drawing from a density by their names: what each is, what it needs, and how its kernel is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from driftback.arguments import real, whole
from driftback.distributions.gaussian import IsotropicGaussian
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.samplers.markov import (
    NUTS,
    AdjustedMicrocanonical,
    EllipticalSlice,
    Energy,
    Flips,
    Gibbs,
    Hamiltonian,
    Independence,
    InformedFlips,
    Kernel,
    Langevin,
    Metropolis,
    Microcanonical,
    RandomWalk,
    Stretch,
    Tempering,
    UnadjustedLangevin,
)

ONE = torch.ones((), dtype=torch.float64)
POWER = 3.0
"""Rungs are denser near the reference, beta = (k / K)^3: there most of the path's length is."""


@dataclass(frozen=True)
class Options:
    """Numbers of the methods; each method knows some of them."""

    aim: float | None = None
    """The mean probability of acceptance to tune for."""
    step: float | None = None
    """A step that stays, in place of a tuned one (unadjusted Langevin)."""
    depth: int = 10
    """Trees of at most 2^depth leapfrogs."""
    length: float = math.pi / 2
    """How far a trajectory goes, in standard deviations."""
    dense: bool = False
    """Whether a full covariance is learned in the warm-up, not only scales."""
    pooled: bool = True
    """Whether all chains share one step and one shape."""
    rungs: int = 12
    """Temperatures, the reference included."""
    moves: int = 1
    """Moves at each rung, or flips in a move, or moves after the weights."""
    leaps: int = 2
    """Leapfrogs of a particle's move."""
    evaluations: int = 100
    """Evaluations per particle."""
    swaps: bool = True
    """Whether particles exchange coordinates."""
    islands: int = 4
    """Populations that tell the error of log Z between them."""
    random: bool = False
    """Whether Gibbs takes a random site in place of one after another."""
    variance: float = 5e-4
    """Of the energy's error per dimension: how much bias unadjusted microcanonical chains may have."""


@dataclass(frozen=True)
class Method:
    """A chain method: how its kernel is made, and which options it knows."""

    make: Callable[[Problem, Energy, Options], Kernel]
    about: str
    source: str
    options: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    """What it takes where another default than that of `Options` is right for it."""


def reference(problem: Problem) -> IsotropicGaussian:
    """The normal law that paths begin at."""
    return IsotropicGaussian(problem.event_shape, problem.scale, dtype=torch.float64)


def _aimed(kernel: Any, options: Options) -> Any:
    return kernel if options.aim is None else replace(kernel, aim=options.aim)


def _slice(problem: Problem, energy: Energy, options: Options) -> Kernel:
    prior: Any = energy.ability("prior")
    if prior is None:
        # Times another prior, the target's own likelihood would be another target: what is beyond this one is taken.
        return EllipticalSlice(energy, reference(problem))
    if not all(hasattr(prior, name) for name in ("sample", "log_prob", "mean")):
        raise BadInput("the target's prior has to be a normal law with sample, log_prob and mean, like Gaussian")
    return EllipticalSlice(energy, prior, energy.ability("log_likelihood"))


def _tempered(problem: Problem, energy: Energy, options: Options) -> Kernel:
    if problem.values is not None:
        raise BadInput("tempering begins at a normal law, and this target takes two values; use flips or gibbs")
    betas = torch.linspace(0, 1, options.rungs, dtype=torch.float64) ** POWER

    def make(inner: Energy) -> Kernel:
        return Hamiltonian(inner, ONE, options.length, most=16)

    return Tempering(energy, reference(problem), make, betas)


def _gibbs(problem: Problem, energy: Energy, options: Options) -> Kernel:
    if energy.ability("conditional") is None:
        raise BadInput("Gibbs draws each coordinate given the others: the target needs conditional(x, i, rng=...)")
    return Gibbs(energy, random=options.random)


def _binary(problem: Problem) -> tuple[float, float]:
    if problem.values is None:
        raise BadInput("flips are for coordinates that take two values; say which with values = (-1.0, 1.0)")
    return problem.values


def _langevin(problem: Problem, energy: Energy, options: Options) -> Kernel:
    step = 0.3 * problem.scale if options.step is None else options.step
    return UnadjustedLangevin(energy, torch.tensor(step, dtype=torch.float64))


SHAPED = ("dense", "pooled")
METHODS: dict[str, Method] = {
    "nuts": Method(
        lambda problem, energy, options: _aimed(NUTS(energy, ONE, depth=options.depth), options),
        "the no-U-turn sampler: Hamiltonian trajectories that find their own length",
        "Hoffman and Gelman 2014, arXiv 1111.4246; Betancourt 2017, arXiv 1701.02434",
        ("aim", "depth", *SHAPED),
    ),
    "hmc": Method(
        lambda problem, energy, options: _aimed(Hamiltonian(energy, ONE, options.length), options),
        "Hamiltonian Monte Carlo with trajectories of jittered length",
        "Duane et al. 1987; Neal 2011, arXiv 1206.1901",
        ("aim", "length", *SHAPED),
    ),
    "mala": Method(
        lambda problem, energy, options: Metropolis(energy, Langevin(ONE)),
        "one step of Langevin's equation, mended by Metropolis and Hastings",
        "Roberts and Tweedie 1996",
        SHAPED,
    ),
    "metropolis": Method(
        lambda problem, energy, options: Metropolis(energy, RandomWalk(ONE)),
        "a random walk whose moves are accepted or not; needs no gradient",
        "Metropolis et al. 1953; Hastings 1970",
        SHAPED,
    ),
    "independence": Method(
        lambda problem, energy, options: Metropolis(energy, Independence(reference(problem))),
        "proposals from a normal law, wherever the chain is; needs no gradient",
        "Hastings 1970; Tierney 1994",
    ),
    "slice": Method(
        _slice,
        "elliptical slices through a normal prior, N(0, scale^2) if none is known; needs no gradient and no step",
        "Murray, Adams and MacKay 2010, arXiv 1001.0175",
    ),
    "stretch": Method(
        lambda problem, energy, options: Stretch(energy),
        "an ensemble whose walkers stretch towards one another; needs no gradient and no shape",
        "Goodman and Weare 2010; Foreman-Mackey et al. 2013, arXiv 1202.3665",
    ),
    "microcanonical": Method(
        lambda problem, energy, options: Microcanonical(energy, ONE, variance=options.variance),
        "unadjusted microcanonical Langevin: one gradient a move, and a bias of a few per cent",
        "Robnik et al. 2023, arXiv 2212.08549",
        ("variance",),
    ),
    "microcanonical-adjusted": Method(
        lambda problem, energy, options: _aimed(AdjustedMicrocanonical(energy, ONE, options.length), options),
        "the same trajectories, accepted or not: exact",
        "Robnik et al. 2025, arXiv 2503.01707",
        ("aim", "length", *SHAPED),
    ),
    "langevin": Method(
        _langevin,
        "Langevin's equation in plain steps, without a test: biased by its step",
        "Roberts and Tweedie 1996",
        ("step",),
    ),
    "tempering": Method(
        _tempered,
        "parallel tempering: hot copies carry cold ones from mode to mode; log Z",
        "Geyer 1991; Syed et al. 2022, arXiv 1905.02939",
        ("length", "rungs"),
    ),
    "gibbs": Method(
        _gibbs,
        "each coordinate drawn given the others, where the target knows how",
        "Geman and Geman 1984",
        ("random",),
    ),
    "flips": Method(
        lambda problem, energy, options: Flips(energy, _binary(problem), options.moves),
        "flips of coordinates that take two values",
        "Metropolis et al. 1953",
        ("moves",),
    ),
    "informed-flips": Method(
        lambda problem, energy, options: InformedFlips(energy, _binary(problem), options.moves),
        "flips that look at what each would change",
        "Zanella 2020, arXiv 1711.07424",
        ("moves",),
    ),
}


def checked(name: str, known: tuple[str, ...], given: dict[str, Any]) -> Options:
    """The options of the method `name` from what was given. BadInput for one that it does not know, or a bad value."""
    for option, value in given.items():
        if option not in known:
            raise BadInput(f"{name} has no option {option}; it takes {', '.join(known) or 'none'}")
        default, most = getattr(Options(), option), 1.0 if option == "aim" else math.inf
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise BadInput(f"{option} is true or false, not {value!r}")
        elif isinstance(default, int):
            whole(value, option, 1)
        elif not 0 < real(value, option) < most:
            below = "" if most == math.inf else f" and below {most:g}"
            raise BadInput(f"{option} must be above 0{below}, not {value}")
    return Options(**given)
