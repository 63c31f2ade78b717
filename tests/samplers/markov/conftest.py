"""What the tests of kernels share: noise that is told in advance, and the question whether exact draws stay exact."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from scipy import stats

from driftback.randomness import Rng
from driftback.samplers.markov import Noise

# So that tests can import `laws` and `orbits`.
sys.path.insert(0, str(Path(__file__).parent))
CHAINS = 20_000


@dataclass
class Told:
    """Noise for n chains that says what it was told, by name; a key of it is itself."""

    n: int
    said: dict
    k: int = 0
    dtype: torch.dtype = torch.float64
    rng: object = field(default=None)

    def normal(self, name, event=()):
        return self.said[name]

    def uniform(self, name, event=()):
        return self.said[name]


def smallest_p_value(x, y):
    """The smallest p-value of two-sample Kolmogorov-Smirnov tests of all coordinates, and of the product of two."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    pairs = [*zip(x.T, y.T, strict=True), (x[:, 0] * x[:, 1], y[:, 0] * y[:, 1])]
    return min(stats.ks_2samp(a.numpy(), b.numpy()).pvalue for a, b in pairs), len(pairs)


@pytest.fixture
def told():
    return Told


@pytest.fixture
def keeps():
    """Whether 20,000 exact draws of `target` are draws after `moves`: a false alarm once in 1,000 (Bonferroni)."""

    def keeps(kernel, target, moves, seed=0):
        noise = Noise(Rng(seed).child("moves"), CHAINS)
        state = kernel.begin(target.sample(CHAINS, rng=Rng(seed).child("start")).double())
        for k in range(moves):
            state, _ = kernel(state, noise.at(k))
        p, tests = smallest_p_value(state.x, target.sample(CHAINS, rng=Rng(seed).child("fresh")))
        return p > 1e-3 / tests

    return keeps


@pytest.fixture
def same_beside():
    """Whether chains 0 to 2 are bit for bit the same beside none and beside four others."""

    def same_beside(kernel, x, moves=4):
        ends = []
        for n in (3, 7):
            noise = Noise(Rng(5), n)
            state = kernel.begin(x[:n])
            for k in range(moves):
                state, _ = kernel(state, noise.at(k))
            ends.append(state.x[:3])
        return bool((ends[0] - ends[1]).abs().max() < 1e-12) and bool((ends[0] != x[:3]).any())

    return same_beside
