"""Metropolis and Hastings: detailed balance pointwise with proposals written down anew, and pi P = pi on a lattice."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from laws import CORRELATED, DOUBLE, TILTED, WIDE, scales, tensor, told
from scipy.stats import multivariate_normal

from driftback.errors import BadInput
from driftback.samplers.markov import UNIT, Dense, Diagonal, Energy, Independence, Langevin, Metropolis, RandomWalk

N, D, STEP = 40, 3, 0.8


def pairs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Where to move from and to: points of the target, some of them far out."""
    x = CORRELATED.sample(2 * N, rng=seed)
    x[::5] *= 2
    return x[:N], x[N:]


def factors(kind: str) -> np.ndarray:
    """The matrices S (n, d, d) of a kind of metric, written out."""
    eye = np.eye(D)[None].repeat(N, 0)
    return {
        "unit": eye,
        "diagonal": np.diag(scales(D).numpy())[None].repeat(N, 0),
        "dense": TILTED[D].numpy()[None].repeat(N, 0),
        "diagonal by chain": eye * (1 + np.arange(N)[:, None, None] / N),
        "dense by chain": TILTED[D].numpy() * (1 + np.arange(N)[:, None, None] / N),
    }[kind]


def metric_of(kind: str):
    matrices = torch.from_numpy(factors(kind))
    return {
        "unit": UNIT,
        "diagonal": Diagonal(matrices[0].diagonal()),
        "dense": Dense(matrices[0]),
        "diagonal by chain": Diagonal(matrices.diagonal(dim1=1, dim2=2)),
        "dense by chain": Dense(matrices),
    }[kind]


METRICS = ("unit", "diagonal", "dense", "diagonal by chain", "dense by chain")
STEPS = {"one step": tensor(STEP)[0], "by chain": STEP * (0.5 + torch.arange(N, dtype=DOUBLE) / N)}


def gradient(x: np.ndarray) -> np.ndarray:
    """Of the Gaussian's log-density, by its formula."""
    return -np.linalg.solve(CORRELATED.covariances[0].numpy(), (x - CORRELATED.means[0].numpy()).T).T


def drifts(x: torch.Tensor, kind: str, h: np.ndarray, langevin: bool) -> np.ndarray:
    """The proposal's means."""
    s = factors(kind)
    slope = np.einsum("nij,nkj,nk->ni", s, s, gradient(x.numpy()))
    return x.numpy() + (h[:, None] ** 2 / 2 * slope if langevin else 0)


def log_q(x, new, kind, h, langevin) -> np.ndarray:
    """log q(x' | x), from scipy."""
    s, means = factors(kind), drifts(x, kind, h, langevin)
    return np.array([multivariate_normal.logpdf(new[i].numpy(), means[i], h[i] ** 2 * s[i] @ s[i].T) for i in range(N)])


def chance(kernel, x, new, kind, h, langevin) -> np.ndarray:
    """log a(x, x'), the kernel's own, with the noise that leads from x to x'."""
    z = np.einsum("nij,nj->ni", np.linalg.inv(factors(kind)), new.numpy() - drifts(x, kind, h, langevin)) / h[:, None]
    state, move = kernel(kernel.begin(x), told(N, proposal=torch.from_numpy(z), accept=torch.zeros(N, dtype=DOUBLE)))
    assert torch.allclose(state.x, new, atol=1e-12)
    assert bool(move.accepted.all())
    return move.probability.log().numpy()


def unbalance(make, kind, step, langevin) -> float:
    """The largest difference between the flows there and back, in nats: log p(x) q(x' | x) a(x, x') and its mirror."""
    kernel, (x, new) = make(Energy(CORRELATED)), pairs()
    h = step.expand(N).numpy()
    there = (
        CORRELATED.log_prob(x).numpy() + log_q(x, new, kind, h, langevin) + chance(kernel, x, new, kind, h, langevin)
    )
    back = CORRELATED.log_prob(new).numpy() + log_q(new, x, kind, h, langevin)
    return float(np.abs(there - back - chance(kernel, new, x, kind, h, langevin)).max())


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("proposal", [RandomWalk, Langevin])
def test_the_flow_there_is_the_flow_back(proposal, kind, steps) -> None:
    step = STEPS[steps]

    def make(energy):
        return Metropolis(energy, proposal(step, metric_of(kind)))

    assert unbalance(make, kind, step, proposal is Langevin) < 1e-10


class Unmended(Langevin):
    """The planted fault: no Hastings ratio."""

    def log_ratio(self, state, new):
        return 0.0


class Upside(Langevin):
    """The planted fault: the Hastings ratio the wrong way up."""

    def log_ratio(self, state, new):
        return -super().log_ratio(state, new)


class Hurried(Langevin):
    """The planted fault: a ratio that takes the drift to be twice as long."""

    def log_ratio(self, state, new):
        return Langevin(self.step * 2**0.5, self.metric).log_ratio(state, new) * 2


@pytest.mark.parametrize("fault", [Unmended, Upside, Hurried])
def test_a_wrong_ratio_has_no_balance(fault) -> None:
    step = STEPS["one step"]
    assert unbalance(lambda energy: Metropolis(energy, fault(step)), "unit", step, True) > 0.1


@dataclass(frozen=True, eq=False)
class Sent:
    """The law `WIDE`, from which `points` were drawn."""

    points: torch.Tensor

    event_shape = (D,)

    def sample(self, n, *, rng=None):
        return self.points

    def log_prob(self, x):
        return WIDE["correlated"].log_prob(x)


def test_the_flows_of_the_independence_proposal() -> None:
    x, new = pairs()
    q = multivariate_normal(np.zeros(D), 2 * np.eye(D))

    def flow(a, b):
        kernel = Metropolis(Energy(CORRELATED), Independence(Sent(b)))
        move = kernel(kernel.begin(a), told(N))[1]
        return CORRELATED.log_prob(a).numpy() + q.logpdf(b.numpy()) + move.probability.log().numpy()

    assert np.abs(flow(x, new) - flow(new, x)).max() < 1e-10


@dataclass(frozen=True, eq=False)
class Ring:
    """p on the points 0 to k - 1, as floats (n, 1)."""

    weights: torch.Tensor

    event_shape = (1,)

    def log_prob(self, x):
        return self.weights.log()[x[:, 0].long()]


@dataclass(frozen=True, eq=False)
class Jumps:
    """x' ~ the row x of a matrix; chain i x k + j is sent from i to j, so that each pair is met."""

    matrix: torch.Tensor
    mended: bool = True
    sloped = False

    def propose(self, state, noise):
        k = len(self.matrix)
        return torch.arange(k, dtype=DOUBLE).repeat(k)[:, None]

    def log_ratio(self, state, new):
        x, y = state.x[:, 0].long(), new.x[:, 0].long()
        return (self.matrix[y, x] / self.matrix[x, y]).log() if self.mended else 0.0


def transition(weights, matrix, mended=True) -> torch.Tensor:
    """P of the kernel on the points, from its own probabilities."""
    k = len(matrix)
    kernel = Metropolis(Energy(Ring(weights)), Jumps(matrix, mended))
    start = torch.arange(k, dtype=DOUBLE).repeat_interleave(k)[:, None]
    taken = kernel(kernel.begin(start), told(k * k))[1].probability.reshape(k, k)
    moving = matrix * taken * (1 - torch.eye(k, dtype=DOUBLE))
    return moving + torch.diag(1 - moving.sum(1))


def lattice(symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = np.random.default_rng(3)
    weights = torch.from_numpy(numbers.dirichlet(np.ones(12)))
    matrix = torch.from_numpy(numbers.random((12, 12)) + 0.05)
    if symmetric:
        # Rows of a symmetric matrix have to sum to 1: what is missing is the chance to stay.
        matrix = (matrix + matrix.T) / 40
        return weights, matrix + torch.diag(1 - matrix.sum(1))
    return weights, matrix / matrix.sum(1, keepdim=True)


@pytest.mark.parametrize("symmetric", [True, False])
def test_pi_p_is_pi_on_a_lattice(symmetric) -> None:
    weights, matrix = lattice(symmetric)
    p = transition(weights, matrix)
    assert torch.allclose(p.sum(1), torch.ones(12, dtype=DOUBLE), atol=1e-12)
    assert float((weights @ p - weights).abs().max()) < 1e-12


def test_an_asymmetric_proposal_without_its_ratio_leaves_pi() -> None:
    weights, matrix = lattice(False)
    assert float((weights @ transition(weights, matrix, mended=False) - weights).abs().max()) > 1e-3


def test_what_is_told_is_what_is_done() -> None:
    """Of 20,000 chains from one point: the share that moved is the mean of the probabilities.

    Within 5 standard errors: a false alarm once in 1.7 million.
    """
    x = tensor([0.6, -0.7, 0.1]).expand(20_000, 3)
    kernel = Metropolis(Energy(CORRELATED), Langevin(tensor(0.9)[0]))
    state, move = kernel(kernel.begin(x), told(len(x)))
    p = move.probability
    gap = (move.accepted.double() - p).mean()
    assert abs(float(gap)) < 5 * float((p * (1 - p)).mean() / len(x)) ** 0.5
    assert torch.equal(move.accepted, (state.x != x).any(1))
    assert torch.equal(state.log_prob, CORRELATED.log_prob(state.x))


def test_points_that_are_off_the_support_are_never_taken() -> None:
    class Half:
        event_shape = (1,)

        def log_prob(self, x):
            return torch.where(x[:, 0] > 0, -x[:, 0], -torch.inf)

    kernel = Metropolis(Energy(Half()), RandomWalk(tensor(3.0)[0]))
    state = kernel.begin(torch.full((500, 1), 0.1, dtype=DOUBLE))
    for k in range(5):
        state, move = kernel(state, told(500, k))
        assert bool((state.x > 0).all())
        assert bool(((move.probability >= 0) & (move.probability <= 1)).all())


def test_a_proposal_that_overflows_is_refused_with_probability_zero() -> None:
    """A slope so steep that the square of the step there is infinite: both halves of the ratio are."""

    class Steep:
        event_shape = (2,)

        def log_prob(self, x):
            return -(x**4).sum(1)

    kernel = Metropolis(Energy(Steep()), Langevin(tensor(0.83)[0], Dense(tensor([1.3, 0.0], [0.3, 1.1]))))
    x = tensor([1e60, 2e60], [3e60, 1e58], [7e61, 3e60])
    state, move = kernel(kernel.begin(x), told(3))
    assert torch.equal(state.x, x)
    assert move.probability.tolist() == [0.0, 0.0, 0.0]


def test_tuning_changes_step_and_metric_and_nothing_else() -> None:
    kernel = Metropolis(Energy(CORRELATED), Langevin(tensor(0.5)[0]))
    other = kernel.tuned(tensor(0.2)[0], Diagonal(scales(3)))
    assert float(other.step) == 0.2
    assert other.metric.scale is not None
    assert other.energy is kernel.energy
    assert kernel.tuned(tensor(0.2)[0]).metric is kernel.metric
    assert (kernel.aim, Metropolis(Energy(CORRELATED), RandomWalk(kernel.step)).aim) == (0.574, 0.234)
    with pytest.raises(BadInput, match="Independence proposals have no step to tune"):
        _ = Metropolis(Energy(CORRELATED), Independence(WIDE["correlated"])).step
