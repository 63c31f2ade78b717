"""The warm-up: Stan's windows, a step with the acceptance that was asked for, the target's shape; then all is fixed."""

import math

import numpy as np
import pytest
import torch
from laws import CORRELATED, DOUBLE, WIDE, last, noise, tensor

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.samplers.markov import (
    NUTS,
    BadDensity,
    Dense,
    Diagonal,
    Energy,
    Hamiltonian,
    Independence,
    Langevin,
    Metropolis,
    RandomWalk,
    Warmup,
)
from driftback.samplers.markov.warmup import Patience, Search, Shape, first_step


def normal(*scales: float) -> Mixture:
    return Mixture(torch.ones(1), torch.zeros(1, len(scales), dtype=DOUBLE), torch.diag(tensor(*scales) ** 2)[None])


class Scaled:
    """N(0, diag(scales^2)) by a formula that a mixture's eigenvectors cannot disturb."""

    def __init__(self, *scales: float) -> None:
        self.scales, self.event_shape = tensor(*scales), (len(scales),)

    def log_prob(self, x):
        return -(x / self.scales).square().sum(1) / 2

    def score(self, x):
        return -x / self.scales**2


class Wall:
    """Gamma(4, 2): mean 2, deviation 1, and nothing below 0."""

    event_shape = (1,)

    def log_prob(self, x):
        x = x[:, 0]
        return torch.where(x > 0, 3 * x.clamp(min=1e-300).log() - 2 * x, -torch.inf)


@pytest.mark.parametrize(
    ("moves", "begin", "ends"),
    [
        (1000, 75, [100, 150, 250, 450, 950]),
        (500, 75, [100, 150, 250, 450]),
        (2000, 75, [100, 150, 250, 450, 850, 1950]),
        (100, 15, [40, 90]),
        (20, 3, [18]),
    ],
)
def test_the_windows_are_stans(moves, begin, ends) -> None:
    assert Warmup(moves).windows(1) == (begin, ends)
    assert Warmup(moves, pooled=False).windows(1000) == (begin, ends)


def test_the_windows_of_many_chains_begin_sooner() -> None:
    begin, ends = Warmup(500).windows(64)
    assert begin == 10
    assert ends == [20, 40, 80, 160, 450]
    assert Warmup(1000).windows(16)[1][-1] == 950
    assert Warmup(60).windows(256) == (9, [19, 48])
    assert Warmup(60, pooled=False).windows(256) == (9, [54])


def test_too_few_moves_are_told() -> None:
    with pytest.raises(BadInput, match="19 moves tune nothing; give 20 or more"):
        Warmup(19)


def after(kernel, state, chains: int, warm: int, count: int, dtype=DOUBLE, **kept):
    """The tuned kernel, and the mean acceptance of the moves after it."""
    one = noise(chains, 1, dtype)
    kernel, state, _ = last(Warmup(warm, **kept)(kernel, state, one))
    chances = []
    for k in range(count):
        state, move = kernel(state, one.at(warm + k))
        chances.append(move.probability)
    return kernel, torch.stack(chances)


MAKES = {
    "random walk": lambda energy: Metropolis(energy, RandomWalk(tensor(7.0)[0])),
    "langevin": lambda energy: Metropolis(energy, Langevin(tensor(0.01)[0])),
    "hamiltonian": lambda energy: Hamiltonian(energy, tensor(3.0)[0]),
    "nuts": lambda energy: NUTS(energy, tensor(1e-3)[0], depth=6),
}


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", MAKES)
def test_the_final_steps_acceptance_is_near_the_aim(name, pooled) -> None:
    """In a band of .1 after 100 (NUTS) or 600 moves for the step alone; 2.5 times the step leaves the band."""
    target, warm = Scaled(*[1.0] * 60), 100 if name == "nuts" else 600
    kernel = MAKES[name](Energy(target))
    state = kernel.begin(noise(20).normal("x", (60,)))
    tuned, chances = after(kernel, state, 20, warm, 40, pooled=pooled, shaped=False)
    assert float(chances.mean()) == pytest.approx(kernel.aim, abs=0.1)
    assert tuned.step.shape == (() if pooled else (20,))
    moved = tuned.tuned(2.5 * tuned.step)(state, noise(20, 2))[1].probability
    assert float(moved.mean()) < kernel.aim - 0.1


def test_many_chains_need_few_moves() -> None:
    """After 60, acceptance within .07 of the aim, scales within 10 % over four decades; 3 chains do not get there."""
    target = Scaled(*torch.logspace(0, 2, 20).tolist())

    def off(chains: int) -> tuple[float, float]:
        kernel = NUTS(Energy(target), tensor(1.0)[0])
        start = kernel.begin(noise(chains).uniform("x", (20,)) * 4 - 2)
        tuned, chances = after(kernel, start, chains, 60, 20)
        return abs(float(chances.mean()) - 0.8), float((tuned.metric.scale / target.scales).log().abs().max())

    chance, scale = off(256)
    assert chance < 0.07
    assert scale < math.log(1.1)
    assert off(3)[1] > math.log(1.1)


def stuck(chains: int, seed: int) -> int:
    """How many chains that began near a wall stay where they are for 50 moves after the warm-up."""
    kernel = NUTS(Energy(Wall()), tensor(1.0)[0])
    state = kernel.begin(0.02 * noise(chains, seed).normal("x", (1,)).abs() + 1e-6)
    kernel, state, _ = last(Warmup(60)(kernel, state, noise(chains, seed + 1)))
    xs = torch.stack([after.x for after, _ in kernel.run(state, noise(chains, seed + 2), 50)])
    return int((xs == xs[0]).all(0).sum())


def test_chains_near_a_wall_get_away_from_it(monkeypatch) -> None:
    """Where the pooled step is hopeless for a chain its own is shorter for a while; else many never move."""
    assert [stuck(64, seed) for seed in (0, 10, 20)] == [0, 0, 0]
    monkeypatch.setattr(Patience, "seen", lambda self, chance: self)
    assert min(stuck(64, seed) for seed in (0, 10, 20)) > 3


def test_steps_are_shortened_after_three_hopeless_moves_and_come_back() -> None:
    patience, shares = Patience.none(3, tensor(1.0)), []
    for chance in ([0.9, 0.01, 0.0], [0.9, 0.01, 0.9], [0.9, 0.01, 0.0], [0.9, 0.0, 0.9], [0.9, 0.9, 0.9]):
        patience = patience.seen(tensor(*chance))
        shares.append(patience.share.tolist())
    assert shares == [[1, 1, 1], [1, 1, 1], [1, 0.5, 1], [1, 0.25, 1], [1, 0.5, 1]]
    assert float(patience.mean(tensor(0.8, 0.1, 0.6))) == pytest.approx(0.7)
    kernel = Hamiltonian(Energy(Wall()), tensor(0.4)[0])
    assert patience.suited(kernel).step.tolist() == pytest.approx([0.4, 0.2, 0.4])
    assert Patience.none(3, tensor(1.0)).suited(kernel) is kernel


def test_a_step_and_a_shape_together_come_near_the_aim() -> None:
    """The last part is a tenth of the moves, so the band is wider: .1 above and below."""
    kernel = NUTS(Energy(CORRELATED), tensor(0.5)[0])
    chances = after(kernel, kernel.begin(CORRELATED.sample(40, rng=0)), 40, 200, 40)[1]
    assert float(chances.mean()) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("pooled", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_scales_are_found_over_eight_decades_of_the_condition(pooled) -> None:
    """Variances from 1e-4 to 1e4, to 25 % where all chains tell, and to a factor of two from one chain's 200 points."""
    target = Scaled(0.01, 0.1, 1.0, 10.0, 100.0)
    kernel = NUTS(Energy(target), tensor(1.0)[0], depth=8)
    state = kernel.begin(noise(24).normal("x", (5,)) * target.scales)
    tuned, chances = after(kernel, state, 24, 400 if not pooled else 200, 10, pooled=pooled)
    ratio = tuned.metric.scale / target.scales
    assert tuned.metric.scale.shape == ((5,) if pooled else (24, 5))
    assert bool((ratio.log().abs() < math.log(1.25 if pooled else 2.0)).all())
    assert float(tuned.step.max()) < 2
    assert float(tuned.step.min()) > 0.2
    assert 0.6 < float(chances.mean()) < 0.95


def test_a_dense_shape_is_found() -> None:
    """A rotated covariance of condition 10^4, to 15 % in its own measure."""
    turn = torch.linalg.qr(noise(4).normal("turn", (4,)))[0]
    covariance = turn @ torch.diag(tensor(0.01, 0.1, 1.0, 100.0)) @ turn.T
    target = Mixture(torch.ones(1), torch.zeros(1, 4, dtype=DOUBLE), ((covariance + covariance.T) / 2)[None])
    kernel = NUTS(Energy(target), tensor(0.1)[0], depth=8)
    state = kernel.begin(target.sample(32, rng=0))
    tuned, _ = after(kernel, state, 32, 200, 1, dense=True)
    inverse = torch.linalg.inv(torch.linalg.cholesky(covariance)) @ tuned.metric.factor
    values = torch.linalg.eigvalsh(inverse @ inverse.T)
    assert float(values.min()) > 0.85
    assert float(values.max()) < 1.15
    assert float(tuned.step) > 0.4


@pytest.mark.parametrize("dense", [False, True])
def test_each_chain_can_have_a_shape_of_its_own(dense) -> None:
    """Chain i of its own target is tuned as it would be alone."""

    class Own:
        event_shape = (2,)

        def log_prob(self, x):
            return -x.square().sum(1) / 2

    kernel = Metropolis(Energy(Own()), Langevin(tensor(0.5)[0]))
    x = noise(20).normal("x", (2,))
    many, _ = after(kernel, kernel.begin(x), 20, 60, 1, pooled=False, dense=dense)
    few, _ = after(kernel, kernel.begin(x[:2]), 2, 60, 1, pooled=False, dense=dense)
    assert torch.allclose(many.step[:2], few.step, rtol=1e-9)
    shapes = [one.metric.factor if dense else one.metric.scale for one in (many, few)]
    assert torch.allclose(shapes[0][:2], shapes[1], rtol=1e-9)


def test_after_the_warm_up_nothing_adapts() -> None:
    kernel = NUTS(Energy(CORRELATED), tensor(0.5)[0])
    one, state = noise(8), kernel.begin(CORRELATED.sample(8, rng=0))
    kernels = []
    for tuned, state, _ in Warmup(60)(kernel, state, one):  # noqa: B007, B020
        kernels.append(tuned)
    assert len(kernels) == 60
    assert tuned.depth == kernel.depth
    assert not tuned.energy.lenient
    step, scale = float(tuned.step), tuned.metric.scale.clone()
    for k in range(20):
        state, _ = tuned(state, one.at(60 + k))
    assert float(tuned.step) == step
    assert torch.equal(tuned.metric.scale, scale)
    # Whoever looks at the way sees other steps.
    assert len({float(one.step) for one in kernels}) > 30


def test_the_kernel_that_came_in_stays_as_it_was() -> None:
    kernel = NUTS(Energy(CORRELATED), tensor(0.5)[0])
    last(Warmup(20)(kernel, kernel.begin(CORRELATED.sample(4, rng=0)), noise(4)))
    assert float(kernel.step) == 0.5
    assert float(kernel.metric.scale) == 1.0


def test_a_step_alone_can_be_tuned() -> None:
    kernel = NUTS(Energy(CORRELATED), tensor(5.0)[0], Diagonal(tensor(1.0, 2.0, 3.0)))
    tuned, _ = after(kernel, kernel.begin(CORRELATED.sample(20, rng=0)), 20, 60, 1, shaped=False)
    assert tuned.metric is kernel.metric
    assert tuned.depth == kernel.depth
    assert float(tuned.step) < 1


def test_what_has_no_step_is_moved() -> None:
    class Still:
        def begin(self, x):
            return Energy(CORRELATED).begin(x, sloped=False)

        def __call__(self, state, noise):
            return state, None

    kernel = Still()
    found = list(Warmup(20)(kernel, kernel.begin(CORRELATED.sample(3, rng=0)), noise(3)))
    assert len(found) == 20
    assert all(one is kernel for one, _, _ in found)
    drawn = Metropolis(Energy(CORRELATED), Independence(WIDE["correlated"]))
    found = list(Warmup(20)(drawn, drawn.begin(CORRELATED.sample(3, rng=0)), noise(3)))
    assert all(one is drawn for one, _, _ in found)
    with pytest.raises(BadInput, match="Independence proposals have no step to tune"):
        drawn.tuned(torch.tensor(1.0))


def test_nan_is_borne_while_the_step_is_untuned_and_not_after() -> None:
    class Edge:
        event_shape = (1,)

        def log_prob(self, x):
            return torch.where(x[:, 0].abs() < 30, -x[:, 0].square() / 2, torch.nan)

    kernel = NUTS(Energy(Edge()), tensor(200.0)[0])
    state = kernel.begin(noise(8).normal("x", (1,)))
    tuned, state, _ = last(Warmup(30)(kernel, state, noise(8)))
    assert tuned.energy.odd > 0
    assert not tuned.energy.lenient
    with pytest.raises(BadDensity, match="NaN"):
        tuned.tuned(tensor(200.0)[0])(state, noise(8))
    # Whoever stops on the way finds it as it was, too.
    way = Warmup(30)(kernel, state, noise(8))
    next(way)
    assert kernel.energy.lenient
    way.close()
    assert not kernel.energy.lenient


def test_points_keep_their_type() -> None:
    kernel = NUTS(Energy(CORRELATED), tensor(0.5)[0])
    state = kernel.begin(CORRELATED.sample(8, rng=0).float())
    tuned, state, _ = last(Warmup(40)(kernel, state, noise(8, 0, torch.float32)))
    assert state.x.dtype == state.log_prob.dtype == torch.float32
    assert tuned.metric.scale.dtype == torch.float32


# The pieces


def test_dual_averaging_is_the_papers() -> None:
    """Hoffman and Gelman 2014, algorithm 5, by hand: H, log e and its average over three moves."""
    search, h, average, centre = Search.begun(tensor(0.2)[0]), 0.0, math.log(0.2), math.log(2.0)
    for m, gap in enumerate((0.3, -0.2, 0.1), 1):
        search = search.followed(tensor(gap)[0])
        h = (1 - 1 / (m + 10)) * h + gap / (m + 10)
        log_step = centre - math.sqrt(m) / 0.05 * h
        average = m**-0.75 * log_step + (1 - m**-0.75) * average
        assert float(search.now) == pytest.approx(math.exp(log_step), rel=1e-12)
        assert float(search.mean) == pytest.approx(math.exp(average), rel=1e-12)
    # Too little acceptance shortens the step.
    assert float(Search.begun(tensor(0.2)[0]).followed(tensor(0.5)[0]).now) < 2.0


def test_dual_averaging_finds_the_root() -> None:
    search = Search.begun(tensor(1.0)[0])
    for _ in range(2000):
        search = search.followed(0.8 - (-search.now).exp())
    assert float((-search.mean).exp()) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("dense", [True, False])
def test_mean_and_scatter_are_numpys(dense, pooled) -> None:
    """Of points that drift, so that what the means have moved counts."""
    moves = [noise(6).at(k).normal("x", (3,)) * (1 + k) + 10 * k for k in range(9)]
    shape = Shape.none(moves[0], pooled=pooled, dense=dense)
    for x in moves:
        shape = shape.seen(x)
    points = torch.stack(moves, 1).numpy()
    groups = points.reshape(1, -1, 3) if pooled else points
    n = groups.shape[1]
    assert shape.count == n
    assert np.allclose(shape.mean.numpy(), groups.mean(1), rtol=1e-12)
    covariance = np.stack([np.cov(group.T) for group in groups])
    regular = n / (n + 5) * covariance + 1e-3 * 5 / (n + 5) * np.eye(3)
    metric = shape.metric(torch.zeros((), dtype=DOUBLE))
    if dense:
        assert isinstance(metric, Dense)
        factor = metric.factor if not pooled else metric.factor[None]
        assert np.allclose((factor @ factor.mT).numpy(), regular, rtol=1e-10)
    else:
        assert isinstance(metric, Diagonal)
        scale = metric.scale if not pooled else metric.scale[None]
        assert np.allclose(scale.square().numpy(), np.diagonal(regular, axis1=1, axis2=2), rtol=1e-10)


@pytest.mark.parametrize("start", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_first_step_is_about_the_targets_size(start, pooled) -> None:
    target = normal(0.03, 0.03)
    kernel = NUTS(Energy(target), tensor(start)[0])
    state = kernel.begin(target.sample(50, rng=0))
    step = first_step(kernel, state, noise(50), pooled=pooled)
    assert step.shape == (() if pooled else (50,))
    assert float(step.min()) > 0.003
    assert float(step.log().mean().exp()) == pytest.approx(0.06, rel=0.75)
