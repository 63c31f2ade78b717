"""What can be drawn from and what can be scored: targets and simple distributions; no diffusion yet."""

from driftback.distributions.cloud import Cloud
from driftback.distributions.energies import TARGETS
from driftback.distributions.gaussian import Gaussian, IsotropicGaussian
from driftback.distributions.mixture import Mixture
from driftback.distributions.protocols import Conditionals, Density, Scored, Source
from driftback.distributions.shapes2d import SHAPES

__all__ = [
    "SHAPES",
    "TARGETS",
    "Cloud",
    "Conditionals",
    "Density",
    "Gaussian",
    "IsotropicGaussian",
    "Mixture",
    "Scored",
    "Source",
]
