"""Markov chains that leave a density invariant, thousands at a time, and weighted particles that are led to one."""

from driftback.samplers.markov.annealed import Annealed
from driftback.samplers.markov.chain import moves
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.flips import Flips, InformedFlips
from driftback.samplers.markov.gibbs import Gibbs, Site
from driftback.samplers.markov.hamiltonian import Hamiltonian
from driftback.samplers.markov.langevin import UnadjustedLangevin, annealed
from driftback.samplers.markov.metric import UNIT, Dense, Diagonal, Metric
from driftback.samplers.markov.metropolis import Independence, Langevin, Metropolis, RandomWalk
from driftback.samplers.markov.microcanonical import AdjustedMicrocanonical, Glide, Microcanonical
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.nuts import NUTS
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.refine import Refined
from driftback.samplers.markov.slice import EllipticalSlice
from driftback.samplers.markov.smc import SMC, Swarm
from driftback.samplers.markov.state import Kernel, Move, State
from driftback.samplers.markov.stretch import Stretch
from driftback.samplers.markov.swarm import Fisher, Spread
from driftback.samplers.markov.tempering import Exchange, Ladder, LogZ, Tempering, log_z
from driftback.samplers.markov.warmup import Warmup
from driftback.samplers.markov.weights import Normaliser, normaliser

__all__ = [
    "NUTS",
    "SMC",
    "UNIT",
    "AdjustedMicrocanonical",
    "Annealed",
    "BadDensity",
    "Dense",
    "Diagonal",
    "EllipticalSlice",
    "Energy",
    "Exchange",
    "Fisher",
    "Flips",
    "Gibbs",
    "Glide",
    "Hamiltonian",
    "Independence",
    "InformedFlips",
    "Kernel",
    "Ladder",
    "Langevin",
    "LogZ",
    "Metric",
    "Metropolis",
    "Microcanonical",
    "Move",
    "Noise",
    "Normaliser",
    "Path",
    "RandomWalk",
    "Refined",
    "Site",
    "Spread",
    "State",
    "Stretch",
    "Swarm",
    "Tempering",
    "UnadjustedLangevin",
    "Warmup",
    "annealed",
    "log_z",
    "moves",
    "normaliser",
]
