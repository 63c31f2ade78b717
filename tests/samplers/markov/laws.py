"""What the tests of Markov chains share: laws that can be drawn exactly, kernels for them, and noise that is told."""

import math
from dataclasses import dataclass, field, replace

import torch
from scipy.stats import ks_2samp
from torch import Tensor

from driftback.distributions import Mixture
from driftback.randomness import as_rng
from driftback.samplers.markov import (
    NUTS,
    UNIT,
    Dense,
    Diagonal,
    Energy,
    Hamiltonian,
    Independence,
    Langevin,
    Metropolis,
    Noise,
    RandomWalk,
)

DOUBLE = torch.float64
DRAWS = 100_000


def tensor(*numbers) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


@dataclass(frozen=True, eq=False)
class Funnel:
    """x_0 ~ N(0, 1.5^2), and the other coordinates ~ N(0, e^x_0): narrow below, wide above (Neal 2003)."""

    d: int = 10
    width: float = 1.5

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def log_prob(self, x: Tensor) -> Tensor:
        mouth, rest = x[:, 0], x[:, 1:]
        inner = rest.square().sum(1) * (-mouth).exp() + (self.d - 1) * mouth
        return -(mouth / self.width).square() / 2 - inner / 2

    def sample(self, n: int, *, rng=None) -> Tensor:
        z = as_rng(rng).normal((n, self.d), dtype=DOUBLE)
        mouth = self.width * z[:, :1]
        return torch.cat([mouth, z[:, 1:] * (mouth / 2).exp()], 1)


@dataclass(frozen=True, eq=False)
class Quartic:
    """-sum x^4/4 + x^2 a/2 by elementwise operations alone, so that a chain's numbers do not hang on the others'."""

    d: int = 3

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def log_prob(self, x: Tensor) -> Tensor:
        parts = x * x * (0.5 - 0.25 * x * x)
        total = parts[:, 0]
        for k in range(1, self.d):
            total = total + parts[:, k] + 0.3 * x[:, k] * x[:, k - 1]
        return total


CORRELATED = Mixture(
    torch.ones(1), tensor([0.5, -1.0, 0.2]), tensor([[1.0, 0.9, 0.0], [0.9, 1.3, -0.2], [0.0, -0.2, 0.25]])
)
MODES = Mixture(
    tensor(0.3, 0.7), tensor([-1.3, 0.5], [1.0, -0.4]), tensor([[0.3, 0.1], [0.1, 0.2]], [[0.4, -0.2], [-0.2, 0.5]])
)
ONE = Mixture(torch.ones(1), torch.zeros(1, 10, dtype=DOUBLE), 3 * torch.eye(10, dtype=DOUBLE)[None])
TARGETS = {"correlated": CORRELATED, "two modes": MODES, "funnel": Funnel()}
WIDE = {
    "correlated": Mixture(torch.ones(1), tensor([0.0, 0.0, 0.0]), 2 * torch.eye(3, dtype=DOUBLE)[None]),
    "two modes": Mixture(torch.ones(1), tensor([0.0, 0.0]), 2 * torch.eye(2, dtype=DOUBLE)[None]),
    "funnel": ONE,
}
"""What the independence proposal draws from."""
TILTED = {
    d: torch.linalg.cholesky(0.5 * torch.eye(d, dtype=DOUBLE) + 0.3 * torch.ones(d, d, dtype=DOUBLE))
    for d in (2, 3, 10)
}


def scales(d: int) -> Tensor:
    return torch.linspace(0.7, 1.2, d, dtype=DOUBLE)


def kernel_of(name: str, target, wide=None, step: float = 0.6):
    """The kernel called `name` for `target`, as it is tested: untuned, with a metric that does not fit exactly."""
    energy, h, d = Energy(target), tensor(step)[0], target.event_shape[0]
    makes = {
        "random walk": lambda: Metropolis(energy, RandomWalk(h, Diagonal(scales(d)))),
        "dense random walk": lambda: Metropolis(energy, RandomWalk(h, Dense(TILTED[d]))),
        "langevin": lambda: Metropolis(energy, Langevin(h, Diagonal(scales(d)))),
        "dense langevin": lambda: Metropolis(energy, Langevin(h, Dense(TILTED[d]))),
        "independence": lambda: Metropolis(energy, Independence(wide)),
        "hamiltonian": lambda: Hamiltonian(energy, h, length=1.5, metric=UNIT),
        "dense hamiltonian": lambda: Hamiltonian(energy, h, length=1.5, metric=Dense(TILTED[d])),
        "nuts": lambda: NUTS(energy, h, Diagonal(scales(d)), depth=4),
        "dense nuts": lambda: NUTS(energy, h, Dense(TILTED[d]), depth=4),
    }
    return makes[name]()


KERNELS = (
    "random walk",
    "dense random walk",
    "langevin",
    "dense langevin",
    "independence",
    "hamiltonian",
    "dense hamiltonian",
    "nuts",
    "dense nuts",
)


@dataclass(frozen=True, eq=False)
class Told(Noise):
    """Noise of which what is `given` by name is handed out as it is, in every move."""

    given: dict[str, Tensor] = field(default_factory=dict)

    def at(self, k):
        return replace(self, k=k)

    def normal(self, name, event=()):
        return self.given[name] if name in self.given else super().normal(name, event)

    def uniform(self, name, event=()):
        return self.given[name] if name in self.given else super().uniform(name, event)

    def of(self, rows, moves, name, event, *, normal):
        if name in self.given:
            return self.given[name][rows]
        return super().of(rows, moves, name, event, normal=normal)


def told(n: int, seed: int = 0, **given: Tensor) -> Told:
    return Told(as_rng(seed), n, DOUBLE, given={name.replace("_", " "): value for name, value in given.items()})


def noise(n: int, seed: int = 0, dtype=DOUBLE) -> Noise:
    return Noise(as_rng(seed), n, dtype)


def surprise(x: Tensor, target, exact: Tensor) -> float:
    """The smallest p of two-sample Kolmogorov-Smirnov tests of `x` against `exact` draws, times their number.

    They look at each coordinate, at the radius and at the energy: below 1e-6 by chance once in a million cases.
    """

    def views(points):
        return [*points.T, points.norm(dim=1), -target.log_prob(points)]

    ps = [ks_2samp(a.numpy(), b.numpy(), method="asymp").pvalue for a, b in zip(views(x), views(exact), strict=True)]
    return len(ps) * min(ps) if all(math.isfinite(p) for p in ps) else 0.0


def last(found):
    """The last of what a generator yields."""
    for one in found:
        end = one
    return end
