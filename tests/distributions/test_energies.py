"""Every target that is given by its density: one contract. A new target joins by its line in TARGETS.

Statistics of N exact draws are judged at 4.5 standard errors, which each leaves once in 150,000 times by chance, at
fixed keys. Each check is also given a fault that it has to see.
"""

import functools
import math
from dataclasses import replace

import pytest
import torch

from driftback.distributions import TARGETS, Conditionals, Density, Scored, Source
from driftback.distributions.energies import Banana, Funnel, Schools, Wells
from driftback.distributions.energies.mixtures import mixture
from driftback.distributions.mixture import Mixture
from driftback.distributions.target import Problem, Target
from driftback.randomness import Rng

N, ERRORS = 20_000, 4.5
WITHOUT_DRAWS = {"cox", "ising", "logistic"}


@functools.cache
def problem(name):
    return TARGETS[name]()


DRAWN = [name for name in TARGETS if isinstance(problem(name).target, Source)]
GIBBS = [name for name in TARGETS if isinstance(problem(name).target, Conditionals)]
CONTINUOUS = [name for name in TARGETS if problem(name).values is None]


@functools.cache
def draws(name):
    return problem(name).target.sample(N, rng=7)


def starts(name, n=12):
    """Points of a normal law, or spins, to begin at."""
    x = 1.5 * Rng(3).normal((n, *problem(name).event_shape), dtype=torch.float64)
    return x if problem(name).values is None else x.sign()


def within(values, expected=0.0):
    """Whether the mean of each column of `values` (n, q) is `expected` (q,), where that is not NaN."""
    error = (values.mean(0) - expected).abs()
    known = ~torch.isnan(torch.as_tensor(expected)).expand(error.shape)
    bound = ERRORS * values.std(0) / math.sqrt(len(values)) + 1e-12
    return bool((error <= bound)[known].all()) and bool(known.any())


def moments_agree(truth, values):
    return within(values, truth.mean) and within((values - truth.mean) ** 2, truth.deviation**2)


def shares_agree(truth, x):
    return within(torch.nn.functional.one_hot(truth.mode(x), len(truth.shares)).double(), truth.shares)


def slope(target, x):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(target.log_prob(leaf).sum(), leaf)
    return gradient


def stein(x, score):
    """E score = 0 and E x_i score_i = -1, by parts: whether draws and density belong together."""
    x, score = x.flatten(1), score.flatten(1)
    return within(score) and within(x * score, -1.0)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_it_is(name):
    p = problem(name)
    assert isinstance(p, Problem)
    assert isinstance(p.target, Target)
    assert isinstance(p.target, Density)
    assert (name in WITHOUT_DRAWS) != isinstance(p.target, Source)
    assert p.source
    assert p.truth.source
    x = starts(name)
    values = p.quantities(x)
    assert values.shape[0] == len(x)
    assert len(p.names) in (0, values.shape[1])
    for known in (p.truth.mean, p.truth.deviation):
        assert known is None or (known.shape == values.shape[1:] and known.dtype == torch.float64)
    if p.truth.shares is not None:
        assert p.truth.shares.sum().item() == pytest.approx(1, abs=1e-6)
        assert p.truth.shares.dtype == torch.float64
        assert set(p.truth.mode(x).tolist()) <= set(range(len(p.truth.shares)))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_log_density_has_a_number_for_each_point(name, dtype):
    """In the type of the points or in float64, and near to what float64 gives."""
    x = starts(name)
    log_p = problem(name).log_prob(x.to(dtype))
    assert log_p.shape == (12,)
    assert log_p.dtype in (dtype, torch.float64)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(log_p.double(), problem(name).log_prob(x), rtol=tolerance, atol=tolerance * 100)


@pytest.mark.parametrize("name", TARGETS)
def test_a_point_does_not_know_its_batch(name):
    x = starts(name)
    alone = torch.cat([problem(name).log_prob(row[None]) for row in x])
    assert torch.allclose(problem(name).log_prob(x), alone, rtol=1e-13, atol=1e-12)
    assert problem(name).log_prob(x[:0]).shape == (0,)


@pytest.mark.parametrize("name", TARGETS)
def test_gradients_are_finite_and_the_scores(name):
    p, x = problem(name), starts(name)
    gradient = slope(p.target, x)
    assert gradient.shape == x.shape
    assert torch.isfinite(gradient).all()
    if p.values is None:
        assert isinstance(p.target, Scored)
        score = p.target.score(x)
        assert torch.allclose(score, gradient, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(1.001 * score, gradient, rtol=1e-9, atol=1e-9)
        assert p.target.score(x.float()).dtype == torch.float32


@pytest.mark.parametrize("name", ["eight-schools", "logistic"])
def test_density_and_score_at_once_are_what_they_are_alone(name):
    target, x = problem(name).target, starts(name)
    value, score = target.log_prob_and_score(x)
    assert torch.allclose(value, target.log_prob(x), rtol=1e-12, atol=1e-12)
    assert torch.allclose(score, slope(target, x), rtol=1e-9, atol=1e-9)
    assert {part.dtype for part in target.log_prob_and_score(x.float())} == {torch.float32}


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_away_a_density_is_small_and_never_nan(name, dtype):
    signs = Rng(5).normal((20, *problem(name).event_shape), dtype=dtype).sign()
    log_p = problem(name).log_prob(1e3 * torch.cat([signs, torch.ones_like(signs[:1]), -torch.ones_like(signs[:1])]))
    # The funnel's mouth is wide: at v = 1000 it lies at -60,000.
    assert (log_p < -1e3).all()


@pytest.mark.parametrize("name", DRAWN)
def test_an_item_belongs_to_its_key_and_number_only(name):
    target = problem(name).target
    x = target.sample(200, rng=3)
    assert x.shape == (200, *target.event_shape)
    assert x.dtype == torch.float64
    assert torch.equal(target.sample(7, rng=3), x[:7])
    assert torch.equal(target.sample(90, rng=Rng(3).item(71)), x[71:161])
    assert not torch.equal(target.sample(200, rng=4), x)
    assert target.sample(0, rng=3).shape == (0, *target.event_shape)


@pytest.mark.parametrize("name", DRAWN)
def test_draws_have_the_moments_that_are_known(name):
    truth, values = problem(name).truth, problem(name).quantities(draws(name))
    assert moments_agree(truth, values)
    assert not moments_agree(replace(truth, mean=truth.mean + 0.1 * truth.deviation), values)
    assert not moments_agree(replace(truth, deviation=1.15 * truth.deviation), values)
    assert not moments_agree(replace(truth, deviation=truth.deviation**2 + 1e-3), values)


@pytest.mark.parametrize("name", [name for name in DRAWN if problem(name).truth.shares is not None])
def test_draws_are_shared_by_the_modes_as_known(name):
    truth, x = problem(name).truth, draws(name)
    assert shares_agree(truth, x)
    tilt = torch.linspace(0.7, 1.3, len(truth.shares), dtype=torch.float64)
    assert not shares_agree(replace(truth, shares=truth.shares * tilt / (truth.shares @ tilt)), x)


@pytest.mark.parametrize("name", [name for name in DRAWN if name in CONTINUOUS])
def test_draws_and_density_belong_together(name):
    target, x = problem(name).target, draws(name)
    assert stein(x, target.score(x))
    wide, shifted = 1.1 * x, x + 0.2 * x.std(0)
    assert not stein(wide, target.score(wide))
    assert not stein(shifted, target.score(shifted))


@pytest.mark.parametrize(
    ("name", "faulty"),
    [
        ("funnel", lambda x: Funnel(deviation=4.0).score(x)),
        ("funnel", lambda x: slope(WrongWidth(), x)),
        ("banana", lambda x: Banana(twist=0.105).score(x)),
        ("many-well", lambda x: Wells((0.0, 0.0, 6.0, 0.0, -1.0), tuple(range(0, 32, 2)), 32).score(x)),
        ("many-well", lambda x: Wells((0.0, 0.5, 6.0, 0.0, -1.0), tuple(range(16)), 32).score(x)),
        ("eight-schools", lambda x: slope(WithoutJacobian(), x)),
    ],
)
def test_a_neighbouring_density_is_refused(name, faulty):
    assert stein(draws(name), problem(name).target.score(draws(name)))
    assert not stein(draws(name), faulty(draws(name)))


class WrongWidth:
    """A funnel of deviation e^v where the variance is e^v."""

    def log_prob(self, x):
        v, rest = x[:, 0], x[:, 1:]
        return -(v**2) / 18 - 9 * v - ((rest * torch.exp(-v)[:, None]) ** 2).sum(1) / 2


class WithoutJacobian:
    """Eight schools with the density of tau where that of log tau belongs."""

    def log_prob(self, x):
        return Schools().log_prob(x) - x[:, 1]


def test_the_checks_see_what_is_known_wrongly():
    """A mixture with a wrong weight, and NaN for everything, which would be agreement with nothing."""
    x = draws("two-modes-20")
    law = problem("two-modes-20").target
    wrong = mixture(
        Mixture(torch.tensor([0.33, 0.67]), law.means, law.covariances), "x", shares=torch.tensor([0.33, 0.67])
    )
    assert not moments_agree(wrong.truth, x)
    assert not shares_agree(wrong.truth, x)
    assert not within(x, torch.full((20,), math.nan))
    assert not within(x * math.nan)


@pytest.mark.parametrize("name", ["gaussian", "gaussian-rotated", "ising-4"])
def test_conditionals_leave_the_law_as_it_is(name):
    """All moments of second order with the new coordinate in its place, and what is known of the quantities."""
    x, target = draws(name), problem(name).target
    for i in (0, 5, target.event_shape[-1] - 1):
        moved = x.clone().flatten(1)
        moved[:, i] = target.conditional(x, i, rng=9)
        assert moments_agree(problem(name).truth, problem(name).quantities(moved.view_as(x)))
        before, after = (y[:, [i]] * y for y in (x.flatten(1), moved))
        assert within(after - before)
        assert not within(1.1 * after - before)


@pytest.mark.parametrize("name", GIBBS)
def test_a_conditional_keeps_its_promises(name):
    target, x = problem(name).target, starts(name, 100)
    new = target.conditional(x, 3, rng=1)
    assert new.shape == (100,)
    assert torch.equal(target.conditional(x[:7], 3, rng=1), new[:7])
    assert torch.equal(x, starts(name, 100))
    assert target.conditional(x.float(), 3, rng=1).dtype == torch.float32
    other = x.clone().flatten(1)
    other[:, 3] *= -1
    assert torch.allclose(target.conditional(other.view_as(x), 3, rng=1), new, atol=1e-9)
