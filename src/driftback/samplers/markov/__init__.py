"""Markov chains that leave a density invariant, thousands at a time, and weighted particles that are led to one."""

from driftback.samplers.markov.annealed import Annealed
from driftback.samplers.markov.chain import moves
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.hamiltonian import Hamiltonian
from driftback.samplers.markov.metric import UNIT, Dense, Diagonal, Metric
from driftback.samplers.markov.metropolis import Independence, Langevin, Metropolis, RandomWalk
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.nuts import NUTS
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.refine import Refined
from driftback.samplers.markov.smc import SMC, Swarm
from driftback.samplers.markov.state import Kernel, Move, State
from driftback.samplers.markov.swarm import Fisher, Spread
from driftback.samplers.markov.warmup import Warmup
from driftback.samplers.markov.weights import Normaliser, normaliser

__all__ = [
    "NUTS",
    "SMC",
    "UNIT",
    "Annealed",
    "BadDensity",
    "Dense",
    "Diagonal",
    "Energy",
    "Fisher",
    "Hamiltonian",
    "Independence",
    "Kernel",
    "Langevin",
    "Metric",
    "Metropolis",
    "Move",
    "Noise",
    "Normaliser",
    "Path",
    "RandomWalk",
    "Refined",
    "Spread",
    "State",
    "Swarm",
    "Warmup",
    "moves",
    "normaliser",
]
