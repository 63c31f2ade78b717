"""Markov chains that leave a density invariant: kernels that take thousands of chains one move on at a time."""

from driftback.samplers.markov.chain import moves
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.hamiltonian import Hamiltonian
from driftback.samplers.markov.metric import UNIT, Dense, Diagonal, Metric
from driftback.samplers.markov.metropolis import Independence, Langevin, Metropolis, RandomWalk
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.nuts import NUTS
from driftback.samplers.markov.state import Kernel, Move, State
from driftback.samplers.markov.warmup import Warmup

__all__ = [
    "NUTS",
    "UNIT",
    "BadDensity",
    "Dense",
    "Diagonal",
    "Energy",
    "Hamiltonian",
    "Independence",
    "Kernel",
    "Langevin",
    "Metric",
    "Metropolis",
    "Move",
    "Noise",
    "RandomWalk",
    "State",
    "Warmup",
    "moves",
]
