"""The methods of drawing from a density by their names: what each is, what it needs, and how its kernel is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.samplers.markov import NUTS, Energy, Hamiltonian, Kernel, Langevin, Metropolis, RandomWalk


@dataclass(frozen=True)
class Options:
    """Numbers of the methods; those that a method does not know it refuses. `step` 0 means: find one."""

    aim: float | None = None
    """The mean probability of acceptance to tune for."""
    depth: int = 10
    """Of NUTS: trees of at most 2^depth leapfrogs."""
    length: float = 1.57
    """Of HMC: how far a trajectory goes, in standard deviations."""
    dense: bool = False
    """Whether a full covariance is learned in the warm-up, not only scales."""
    pooled: bool = True
    """Whether all chains share one step and one shape."""


@dataclass(frozen=True)
class Method:
    """A chain method: `make` its kernel, and the `options` that it knows beside `pooled` and `dense`."""

    make: Callable[[Problem, Energy, Options], Kernel]
    about: str
    source: str
    options: tuple[str, ...] = ()
    sloped: bool = False
    tuned: bool = True


def _one(energy: Energy) -> torch.Tensor:
    return torch.ones((), dtype=torch.float64)


def _aimed(kernel: Any, options: Options) -> Any:
    from dataclasses import replace

    return kernel if options.aim is None else replace(kernel, aim=options.aim)


METHODS: dict[str, Method] = {
    "nuts": Method(
        lambda problem, energy, options: _aimed(NUTS(energy, _one(energy), depth=options.depth), options),
        "the no-U-turn sampler: Hamiltonian trajectories that find their own length",
        "Hoffman and Gelman 2014, arXiv 1111.4246; Betancourt 2017, arXiv 1701.02434",
        ("aim", "depth", "dense", "pooled"),
        sloped=True,
    ),
    "hmc": Method(
        lambda problem, energy, options: _aimed(Hamiltonian(energy, _one(energy), options.length), options),
        "Hamiltonian Monte Carlo with trajectories of jittered length",
        "Duane et al. 1987; Neal 2011, arXiv 1206.1901",
        ("aim", "length", "dense", "pooled"),
        sloped=True,
    ),
    "mala": Method(
        lambda problem, energy, options: Metropolis(energy, Langevin(_one(energy))),
        "one step of Langevin's equation, mended by Metropolis and Hastings",
        "Roberts and Tweedie 1996",
        ("dense", "pooled"),
        sloped=True,
    ),
    "metropolis": Method(
        lambda problem, energy, options: Metropolis(energy, RandomWalk(_one(energy))),
        "a random walk whose moves are accepted or not; needs no gradient",
        "Metropolis et al. 1953; Hastings 1970",
        ("dense", "pooled"),
    ),
}


def checked(method: str, given: dict[str, Any]) -> Options:
    """The options of a method from what was given. BadInput for a method or an option that there is not."""
    if method not in METHODS:
        raise BadInput(f"there is no method '{method}'; choose one of {', '.join(METHODS)}")
    known = METHODS[method].options
    for name in given:
        if name not in known:
            raise BadInput(f"{method} has no option {name}; it takes {', '.join(known) or 'none'}")
    kinds = {one.name: one.type for one in fields(Options)}
    assert set(given) <= set(kinds)
    return Options(**given)
