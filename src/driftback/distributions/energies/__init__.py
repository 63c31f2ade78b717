"""Targets given by a density alone, with whatever is known of them beforehand: the examples that samplers are tried on.

`TARGETS` has them by name, as `Problem`s; each file holds one kind and a factory of its own, for other sizes.
"""

from driftback.distributions.energies.cox import Cox, cox
from driftback.distributions.energies.ising import Ising, SmallIsing, ising, small_ising
from driftback.distributions.energies.logistic import Logistic, logistic
from driftback.distributions.energies.mixtures import gmm25, gmm40, mixture, two_gaussians, two_modes
from driftback.distributions.energies.named import TARGETS
from driftback.distributions.energies.normal import gaussian
from driftback.distributions.energies.schools import Schools, schools
from driftback.distributions.energies.twisted import Banana, Funnel, banana, funnel
from driftback.distributions.energies.wells import Wells, double_well, many_well

__all__ = [
    "TARGETS",
    "Banana",
    "Cox",
    "Funnel",
    "Ising",
    "Logistic",
    "Schools",
    "SmallIsing",
    "Wells",
    "banana",
    "cox",
    "double_well",
    "funnel",
    "gaussian",
    "gmm25",
    "gmm40",
    "ising",
    "logistic",
    "many_well",
    "mixture",
    "schools",
    "small_ising",
    "two_gaussians",
    "two_modes",
]
