"""The targets by name. A name becomes its `Problem` here, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from driftback.distributions.energies.cox import cox
from driftback.distributions.energies.ising import CRITICAL, ising, small_ising
from driftback.distributions.energies.logistic import logistic
from driftback.distributions.energies.mixtures import gmm25, gmm40, two_gaussians, two_modes
from driftback.distributions.energies.normal import gaussian
from driftback.distributions.energies.schools import schools
from driftback.distributions.energies.twisted import banana, funnel
from driftback.distributions.energies.wells import double_well, many_well
from driftback.distributions.target import Problem


def _wide(make: Callable[[], Problem], scale: float) -> Callable[[], Problem]:
    """The problem with a normal law of deviation `scale` that covers it."""
    return lambda: replace(make(), scale=scale)


TARGETS: dict[str, Callable[[], Problem]] = {
    "gaussian": _wide(partial(gaussian, 100, 1e4), 10.0),
    "gaussian-rotated": _wide(partial(gaussian, 100, 1e4, rotated=True), 10.0),
    "two-gaussians": _wide(two_gaussians, 2.0),
    "two-modes-20": _wide(two_modes, 2.0),
    "gmm25": _wide(gmm25, 10.0),
    "gmm40": _wide(gmm40, 30.0),
    "funnel": funnel,
    "banana": _wide(banana, 10.0),
    "many-well": many_well,
    "double-well-5": partial(double_well, 5, 5, 4.0),
    "double-well-50": partial(double_well, 50, 5, 2.0),
    "eight-schools": schools,
    "logistic": logistic,
    "cox": cox,
    "ising-4": partial(small_ising, 4, CRITICAL),
    "ising": partial(ising, 8, CRITICAL),
}
