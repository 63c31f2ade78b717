"""Ways to move points: samplers are generators of frames, called with points and a grid of times."""

from driftback.samplers.adaptive import Adaptive, adaptive_times
from driftback.samplers.adaptive_sde import AdaptiveSDE
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.euler_maruyama import EulerMaruyama
from driftback.samplers.fitted import Fitted, fitted
from driftback.samplers.frame import Frame, Sampler, last
from driftback.samplers.grids import GRIDS, cosine, karras, log_snr, uniform
from driftback.samplers.heun import Heun, euler
from driftback.samplers.langevin import Langevin, PredictorCorrector
from driftback.samplers.milstein import Milstein
from driftback.samplers.multistep import Multistep
from driftback.samplers.published import SAMPLERS
from driftback.samplers.reference import Reference, reference
from driftback.samplers.runge_kutta import RungeKutta
from driftback.samplers.singlestep import SingleStep
from driftback.samplers.stochastic_heun import StochasticHeun

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "Adaptive",
    "AdaptiveSDE",
    "Ancestral",
    "EulerMaruyama",
    "Fitted",
    "Frame",
    "Heun",
    "Langevin",
    "Milstein",
    "Multistep",
    "PredictorCorrector",
    "Reference",
    "RungeKutta",
    "Sampler",
    "SingleStep",
    "StochasticHeun",
    "adaptive_times",
    "cosine",
    "euler",
    "fitted",
    "karras",
    "last",
    "log_snr",
    "reference",
    "uniform",
]
