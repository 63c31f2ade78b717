"""Ways to move points: samplers are generators of frames, called with points and a grid of times."""

from driftback.samplers.ancestral import Ancestral
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.frame import Frame, Sampler, last
from driftback.samplers.grids import GRIDS, karras, log_snr, uniform
from driftback.samplers.heun import Heun, euler
from driftback.samplers.langevin import Langevin, PredictorCorrector
from driftback.samplers.milstein import Milstein

__all__ = [
    "GRIDS",
    "Ancestral",
    "EulerMaruyama",
    "Frame",
    "Heun",
    "Langevin",
    "Milstein",
    "PredictorCorrector",
    "Sampler",
    "euler",
    "karras",
    "last",
    "log_snr",
    "uniform",
]
