"""Kernels as wholes: started at the target they stay there (KS), joint laws agree (Geweke), ranks are uniform (SBC).

Geweke 2004, 'Getting it right', JASA 99; Talts et al. 2018, arXiv 1804.06788; eight schools: Rubin 1981, with the means
of posteriordb's reference draws.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from laws import (
    DOUBLE,
    DRAWS,
    KERNELS,
    MODES,
    TARGETS,
    WIDE,
    kernel_of,
    last,
    noise,
    surprise,
    tensor,
)
from scipy.stats import chi2

from driftback.randomness import as_rng
from driftback.samplers.markov import (
    NUTS,
    Energy,
    Hamiltonian,
    Independence,
    Langevin,
    Metropolis,
    Noise,
    RandomWalk,
    Warmup,
    moves,
)
from driftback.samplers.markov import nuts as nuts_module
from driftback.samplers.markov.nuts import Trees

CHAINS = 20_000
LEVEL = 1e-6
"""Over 27 cases a false alarm in 37,000 seeds; the seeds are fixed."""
STEPS = {"correlated": 0.5, "two modes": 0.6, "funnel": 0.4}


@functools.cache
def exact(name: str) -> torch.Tensor:
    return TARGETS[name].sample(DRAWS, rng=77)


def stays(kernel, target, draws, count: int, seed: int = 0, chains: int = CHAINS) -> float:
    """How surprising the law is after `count` moves of chains that began as exact draws."""
    state, one = kernel.begin(target.sample(chains, rng=seed)), noise(chains, seed + 1)
    for k in range(count):
        state, _ = kernel(state, one.at(k))
    return surprise(state.x, target, draws)


QUICK = {"nuts", "langevin", "hamiltonian", "random walk", "independence"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KERNELS]
)
def test_what_starts_at_the_target_stays_there(name, target) -> None:
    kernel = kernel_of(name, TARGETS[target], WIDE[target], STEPS[target])
    assert stays(kernel, TARGETS[target], exact(target), 3 if "nuts" in name else 10) > LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_what_starts_at_the_target_stays_there_for_long(name, target) -> None:
    kernel = kernel_of(name, TARGETS[target], WIDE[target], STEPS[target])
    assert stays(kernel, TARGETS[target], exact(target), 12 if "nuts" in name else 60, 5) > LEVEL


def unmended(monkeypatch):
    monkeypatch.setattr(Langevin, "log_ratio", lambda *_: 0.0)
    return "langevin"


def generous(monkeypatch):
    """The root of the probability of acceptance: as if the error in energy were half of what it is."""
    right = Noise.uniform
    monkeypatch.setattr(Noise, "uniform", lambda self, name, event=(): right(self, name, event) ** 2)
    return "hamiltonian"


def by_torch(monkeypatch) -> None:
    """NUTS by torch's machine, which can be meddled with; the compiled one is held against it in test_nuts."""
    monkeypatch.setattr(nuts_module, "_quick", lambda like: None)


def unweighed(monkeypatch):
    by_torch(monkeypatch)
    right = Trees._draw
    monkeypatch.setattr(Trees, "_draw", lambda self, rows, point, gain: right(self, rows, point, gain * 0))
    return "nuts"


def shrunk(monkeypatch):
    by_torch(monkeypatch)
    right = nuts_module.leap

    def leap(*given):
        x, z, log_prob, slope = right(*given)
        return x, 0.8 * z, log_prob, slope

    monkeypatch.setattr(nuts_module, "leap", leap)
    return "nuts"


@pytest.mark.parametrize("fault", [unmended, generous, unweighed, shrunk])
def test_a_kernel_that_leaves_the_target_is_seen(fault, monkeypatch) -> None:
    name = fault(monkeypatch)
    kernel = kernel_of(name, MODES, step=0.9)
    assert stays(kernel, MODES, exact("two modes"), 8 if name == "nuts" else 20) < LEVEL


# Adaptation


def test_adaptation_that_never_stops_leaves_the_target() -> None:
    """Steps that follow the chain's own past are no Markov chain's; once they are fixed, all is well again.

    The warm-up itself, each chain for itself, is the adaptation: chains that began as exact draws are none at its end.
    """
    kernel, one = kernel_of("langevin", MODES, step=1.0), noise(CHAINS, 1)
    state = kernel.begin(MODES.sample(CHAINS, rng=0))
    kernel, state, _ = last(Warmup(40, pooled=False)(kernel, state, one))
    assert surprise(state.x, MODES, exact("two modes")) < LEVEL
    # The steps as they are, in chains whose place they do not know.
    assert stays(kernel, MODES, exact("two modes"), 10, seed=8) > LEVEL


# Geweke's joint test


@dataclass(eq=False)
class Model:
    """theta ~ N(0, I) in the plane, y ~ N(theta_0, e^theta_1) three times; `y` (n, 3) is each chain's own."""

    y: torch.Tensor

    event_shape = (2,)

    def log_prob(self, x):
        misfit = (self.y - x[:, :1]).square().sum(1) * (-x[:, 1]).exp()
        return -x.square().sum(1) / 2 - (misfit + 3 * x[:, 1]) / 2


class Prior:
    """N(0, I) in the plane."""

    event_shape = (2,)

    def sample(self, n, *, rng=None):
        return as_rng(rng).normal((n, 2), dtype=DOUBLE)

    def log_prob(self, x):
        return -x.square().sum(1) / 2


def given(theta: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """y for each theta."""
    return theta[:, :1] + (theta[:, 1:] / 2).exp() * z


JOINT = {
    "random walk": lambda energy: Metropolis(energy, RandomWalk(tensor(1.0)[0])),
    "langevin": lambda energy: Metropolis(energy, Langevin(tensor(0.8)[0])),
    "independence": lambda energy: Metropolis(energy, Independence(Prior())),
    "hamiltonian": lambda energy: Hamiltonian(energy, tensor(0.7)[0], length=1.4),
    "nuts": lambda energy: NUTS(energy, tensor(0.7)[0], depth=3),
}


SIGMA = tensor(15, 10, 16, 11, 9, 11, 10, 18).double()
EFFECTS = tensor(28, 8, -3, 7, -1, 1, 18, 12).double()


@dataclass(eq=False)
class Schools:
    """mu ~ N(0, 5), tau ~ half-Cauchy(0, 5), eta ~ N(0, 1), y ~ N(mu + tau eta, sigma): x is (mu, log tau, eta)."""

    y: torch.Tensor
    power: float = 1.0
    """The density is taken to this power: 1, or a planted fault."""

    event_shape = (10,)

    def log_prob(self, x):
        mu, log_tau, eta = x[:, 0], x[:, 1], x[:, 2:]
        tau = log_tau.exp()
        prior = -(mu / 5).square() / 2 - (tau / 5).square().log1p() + log_tau - eta.square().sum(1) / 2
        fit = ((self.y - mu[:, None] - tau[:, None] * eta) / SIGMA).square().sum(1) / 2
        return self.power * (prior - fit)


def quantities(x: torch.Tensor) -> torch.Tensor:
    """mu, tau, theta_1 and theta_7, (..., 4)."""
    mu, tau, eta = x[..., 0], x[..., 1].exp(), x[..., 2:]
    return torch.stack([mu, tau, mu + tau * eta[..., 0], mu + tau * eta[..., 6]], -1)


class Whose(Trees):
    """Trees that tell a target whose data differ by chain which chains it is asked about."""

    def leap(self):
        self.nuts.energy.target.rows = self.all if bool(self.going.all()) else self.going.nonzero()[:, 0]
        return super().leap()


@dataclass(eq=False)
class ByChain:
    """A target for the chains `rows` that are asked about, or for all of them."""

    model: Model | Schools
    rows: torch.Tensor | None = None

    @property
    def event_shape(self):
        return self.model.event_shape

    def log_prob(self, x):
        if len(x) == len(self.model.y):
            return self.model.log_prob(x)
        return replace(self.model, y=self.model.y[self.rows]).log_prob(x)


def statistics(theta: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What is compared (n, q): moments up to the second of the parameters, and how the data hang on them."""
    mean, wide = y.mean(1), y.var(1)
    a, b = theta.unbind(1)
    return torch.stack(
        [a, b, a * a, b * b, a * b, a * mean, mean.tanh(), wide.log(), b * wide.log(), a * wide.log()], 1
    )


def geweke(make, rounds: int, chains: int = 4_000) -> float:
    """The smallest p of the statistics, times their number: means over rounds, with errors from independent chains.

    Each chain is one successive-conditional simulator, started by a draw of the marginal-conditional one.
    """
    key = as_rng(11)
    theta = key.child("theta").normal((chains, 2), dtype=DOUBLE)
    model = Model(given(theta, key.child("y").normal((chains, 3), dtype=DOUBLE)))
    kernel, one, total = make(Energy(ByChain(model))), noise(chains, 12), 0.0
    for k in range(rounds):
        theta = kernel(kernel.begin(theta), one.at(k))[0].x
        model.y = given(theta, key.child("again", k).normal((chains, 3), dtype=DOUBLE))
        total = total + statistics(theta, model.y)
    found = total / rounds
    fresh = key.child("other").normal((20 * chains, 2), dtype=DOUBLE)
    known = statistics(fresh, given(fresh, key.child("others").normal((20 * chains, 3), dtype=DOUBLE)))
    error = (found.var(0) / chains + known.var(0) / len(known)).sqrt()
    z = ((found.mean(0) - known.mean(0)) / error).abs()
    return float(len(z) * torch.special.erfc(z.max() / math.sqrt(2)))


@pytest.fixture
def by_chain(monkeypatch) -> None:
    by_torch(monkeypatch)
    monkeypatch.setattr(nuts_module, "Trees", Whose)


@pytest.mark.parametrize("name", JOINT)
def test_gewekes_joint_test(name, by_chain) -> None:
    """At 1e-6 for each of 5 kernels: a false alarm in 200,000 seeds."""
    assert geweke(JOINT[name], 15 if name == "nuts" else 30) > LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINT)
def test_gewekes_joint_test_for_long(name, by_chain) -> None:
    assert geweke(JOINT[name], 100) > LEVEL


@pytest.mark.parametrize("fault", [unmended, generous, unweighed, shrunk])
def test_geweke_sees_a_wrong_kernel(fault, by_chain, monkeypatch) -> None:
    name = fault(monkeypatch)
    assert geweke(JOINT[name], 40) < LEVEL


# Eight schools


REFERENCE = tensor([4.4105, 3.309], [3.602, 3.199], [6.151, 5.616], [6.317, 5.003])
OF_REFERENCE = 10_000
"""posteriordb's draws: nearly independent."""


def posterior(chains: int, warm: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantities (count, chains, 4) of the real data's posterior, and the probabilities of acceptance (count,)."""
    kernel = NUTS(Energy(Schools(EFFECTS)), tensor(0.5)[0])
    state, one = kernel.begin(noise(chains, 3).normal("start", (10,))), noise(chains, 4)
    kernel, state, _ = last(Warmup(warm)(kernel, state, one))
    frames = [
        (quantities(after.x), move.probability.mean()) for after, move in moves(kernel, state, one.at(warm), count)
    ]
    return torch.stack([x for x, _ in frames]), torch.stack([p for _, p in frames])


def off(draws: torch.Tensor) -> float:
    """The largest distance of mean and deviation from the reference, in standard errors of both (between chains)."""
    worst = 0.0
    for power, column in ((1, 0), (2, 1)):
        # Deviations by the delta method, around the reference's mean.
        values = draws if power == 1 else (draws - REFERENCE[:, 0]).square()
        each = values.mean(0)
        mean, error = each.mean(0), each.std(0) / len(each) ** 0.5
        if power == 2:
            mean, error = mean.sqrt(), error / (2 * mean.sqrt())
        theirs = values.flatten(0, 1).std(0) / OF_REFERENCE**0.5 / (1 if power == 1 else 2 * mean)
        worst = max(worst, float(((mean - REFERENCE[:, column]).abs() / (error**2 + theirs**2).sqrt()).max()))
    return worst


def test_eight_schools_agree_with_posteriordb() -> None:
    """Of 8 numbers each within 4 standard errors: a false alarm in 2,000 seeds, and the seed is fixed."""
    draws, chance = posterior(64, 200, 150)
    assert off(draws) < 4
    assert off(1.15 * draws) > 4
    assert 0.7 < float(chance.mean()) < 0.95


@pytest.mark.slow
def test_eight_schools_agree_with_posteriordb_for_long() -> None:
    assert off(posterior(100, 500, 1_000)[0]) < 4


def ranks(data: int, warm: int, draws: int, apart: int, power: float = 1.0) -> torch.Tensor:
    """Ranks (data, 5) from 0 to `draws` of the truth among draws of the posterior; `power` other than 1 is a fault.

    Each data set is a chain, tuned for itself; the last quantity is the log-density, which hangs on the data too.
    """
    key = as_rng(21)
    eta, places = key.child("eta").normal((data, 8), dtype=DOUBLE), key.child("mu").normal((data, 1), dtype=DOUBLE)
    share = key.child("tau").uniform((data, 1), dtype=DOUBLE)
    truth = torch.cat([5 * places, (5 * (math.pi / 2 * share).tan()).log(), eta], 1)
    means = truth[:, :1] + truth[:, 1:2].exp() * eta
    model = Schools(means + SIGMA * key.child("y").normal((data, 8), dtype=DOUBLE), power)

    def all_of(x):
        return torch.cat([quantities(x), model.log_prob(x)[:, None]], 1)

    kernel = NUTS(Energy(ByChain(model)), tensor(0.3)[0], depth=6)
    state, one = kernel.begin(0.5 * noise(data, 22).normal("start", (10,))), noise(data, 23)
    kernel, state, _ = last(Warmup(warm, pooled=False)(kernel, state, one))
    below, real = 0, all_of(truth)
    for k, (after, _) in enumerate(moves(kernel, state, one.at(warm), draws * apart)):
        if k % apart == apart - 1:
            below = below + (all_of(after.x) < real).long()
    return below


def uniform(found: torch.Tensor, draws: int, bins: int) -> float:
    """The smallest p of chi-square tests of each quantity's ranks, times their number."""
    edges = torch.div(found * bins, draws + 1, rounding_mode="floor")
    counts = torch.stack([torch.bincount(column, minlength=bins) for column in edges.T]).double()
    expected = len(found) / bins
    statistic = ((counts - expected) ** 2 / expected).sum(1)
    return float(len(counts) * np.min(chi2.sf(statistic.numpy(), bins - 1)))


@pytest.mark.slow
def test_ranks_are_uniform(by_chain) -> None:
    """At 1e-4 for all quantities: a false alarm in 10,000 seeds."""
    assert uniform(ranks(200, 80, 7, 5), 7, 4) > 1e-4


@pytest.mark.slow
def test_ranks_of_another_posterior_are_not_uniform(by_chain) -> None:
    assert uniform(ranks(200, 50, 7, 3, power=0.5), 7, 4) < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ranks_are_uniform_for_many(by_chain) -> None:
    assert uniform(ranks(600, 300, 15, 12), 15, 8) > 1e-4
