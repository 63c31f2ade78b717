"""What is known of the targets, computed again in another way: quadrature by scipy, enumeration, other formulas."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.linear_model import LogisticRegression

from driftback.distributions import TARGETS
from driftback.distributions.energies import (
    Cox,
    Ising,
    Schools,
    SmallIsing,
    cox,
    double_well,
    gaussian,
    gmm25,
    gmm40,
    ising,
    logistic,
    many_well,
    schools,
    small_ising,
    two_modes,
)
from driftback.distributions.energies.ising import CRITICAL
from driftback.distributions.energies.kaufman import energy, log_partition
from driftback.distributions.energies.line import Line
from driftback.distributions.energies.mixtures import cells
from driftback.distributions.energies.normal import rotation
from driftback.distributions.energies.schools import EFFECTS, ERRORS
from driftback.distributions.energies.schools_exact import Exact
from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.randomness import Rng


def points(d, n=30, scale=2.0):
    return scale * Rng(2).normal((n, d), dtype=torch.float64)


def test_a_line_is_integrated_and_inverted():
    """For a normal law, whose integral, moments and quantiles scipy knows."""
    line = Line(lambda u: -((u - 1) ** 2) / 8, -20.0, 22.0)
    assert line.log_z == pytest.approx(math.log(2 * math.sqrt(2 * math.pi)), abs=1e-13)
    assert float(line.expectation(lambda u: (u - 1) ** 2)) == pytest.approx(4, abs=1e-12)
    u = torch.tensor([[1e-12, 0.001, 0.3], [0.5, 0.9, 1 - 1e-9]], dtype=torch.float64)
    expected = stats.norm(1, 2).ppf(u.numpy())
    assert line.quantile(u).numpy() == pytest.approx(expected, abs=1e-6)
    assert stats.norm(1, 2).cdf(line.quantile(u).numpy()) == pytest.approx(u.numpy(), abs=1e-13)
    assert stats.norm(1, 2).cdf(line.quantile(u).numpy() + 1e-9) != pytest.approx(u.numpy(), abs=1e-13)
    assert torch.isfinite(line.quantile(torch.zeros(1))).all()


def well(coefficients):
    """log Z, mean, deviation and P(u > 0) of exp(polynomial), by scipy."""

    def moment(f, low=-6.0):
        return integrate.quad(lambda u: f(u) * math.exp(np.polyval(coefficients, u)), low, 6, epsabs=1e-13, limit=400)[
            0
        ]

    z = moment(lambda u: 1)
    mean = moment(lambda u: u) / z
    return math.log(z), mean, math.sqrt(moment(lambda u: (u - mean) ** 2) / z), moment(lambda u: 1, 0.0) / z


def test_the_many_well_is_known():
    log_z, mean, deviation, right = well([-1, 0, 6, 0.5, 0])
    truth = many_well().truth
    assert truth.log_z == pytest.approx(16 * (log_z + math.log(2 * math.pi) / 2), abs=1e-9)
    assert truth.log_z == pytest.approx(164.69568, abs=1e-5)
    assert right == pytest.approx(0.84431, abs=1e-5)
    assert truth.mean.numpy() == pytest.approx(np.tile([mean, 0], 16), abs=1e-10)
    assert truth.deviation.numpy() == pytest.approx(np.tile([deviation, 1], 16), abs=1e-10)
    x = torch.zeros(1, 32)
    for number, signs in enumerate(itertools.product([-1, 1], repeat=4)):
        x[0, :8:2] = torch.tensor(signs[::-1])
        assert truth.mode(x) == number
        share = math.prod(right if sign > 0 else 1 - right for sign in signs)
        assert truth.shares[number].item() == pytest.approx(share, abs=1e-10)


@pytest.mark.parametrize(("d", "m", "delta", "expected"), [(5, 5, 4.0, -0.54106), (50, 5, 2.0, 42.81724)])
def test_the_double_wells_are_known(d, m, delta, expected):
    log_z, _, deviation, _ = well([-1, 0, 2 * delta, 0, -(delta**2)])
    truth = double_well(d, m, delta).truth
    assert truth.log_z == pytest.approx(m * log_z + (d - m) * math.log(2 * math.pi) / 2, abs=1e-9)
    assert truth.log_z == pytest.approx(expected, abs=1e-5)
    assert truth.deviation[0].item() == pytest.approx(deviation, abs=1e-10)
    assert truth.shares.numpy() == pytest.approx(np.full(32, 1 / 32), abs=1e-12)
    x = points(d)
    by_hand = -((x[:, :m] ** 2 - delta) ** 2).sum(1) - (x[:, m:] ** 2).sum(1) / 2
    assert torch.allclose(double_well(d, m, delta).log_prob(x), by_hand, rtol=1e-12)


def test_a_gaussian_has_the_condition_number_that_was_asked_for():
    for turned in (False, True):
        variances = np.linalg.eigvalsh(gaussian(7, 300.0, rotated=turned).target.covariance.numpy())
        assert variances == pytest.approx(300 ** (np.arange(7) / 6), rel=1e-9)
    turn = rotation(7)
    assert torch.allclose(turn @ turn.T, torch.eye(7, dtype=torch.float64), atol=1e-12)
    assert turn.abs().max() < 0.95


def test_a_gaussian_conditional_is_schurs():
    """The mean and variance given the rest, from blocks of the covariance; the noise is that of the key."""
    law, x = gaussian(7, 300.0, rotated=True).target, points(7)
    i, rest = 2, [0, 1, 3, 4, 5, 6]
    weights = torch.linalg.solve(law.covariance[rest][:, rest], law.covariance[rest, i])
    variance = law.covariance[i, i] - weights @ law.covariance[rest, i]
    expected = x[:, rest] @ weights + variance.sqrt() * Rng(4).normal((30,), dtype=torch.float64)
    assert torch.allclose(law.conditional(x, i, rng=4), expected, atol=1e-9)
    assert not torch.allclose(law.conditional(x, i, rng=4), expected + 1e-3, atol=1e-9)


def test_the_funnel_is_a_product_of_normals():
    x = points(10)
    v = x[:, 0].numpy()
    expected = stats.norm.logpdf(v, scale=3) + stats.norm.logpdf(x[:, 1:].numpy(), scale=np.exp(v / 2)[:, None]).sum(1)
    assert TARGETS["funnel"]().log_prob(x).numpy() == pytest.approx(expected, abs=1e-10)
    wrong = stats.norm.logpdf(v, scale=3) + stats.norm.logpdf(x[:, 1:].numpy(), scale=np.exp(v)[:, None]).sum(1)
    assert TARGETS["funnel"]().log_prob(x).numpy() != pytest.approx(wrong, abs=1e-10)


def test_the_banana_is_a_normal_law_bent():
    x = points(2, scale=10.0)
    y = x[:, 1] + 0.1 * x[:, 0] ** 2 - 10
    expected = stats.norm.logpdf(x[:, 0], scale=10) + stats.norm.logpdf(y)
    assert TARGETS["banana"]().log_prob(x).numpy() == pytest.approx(expected, abs=1e-10)


def test_the_forty_gaussians_are_those_of_fab():
    """torch's generator with seed 0, and softplus of one as the deviation; the first mean as FAB's code has it."""
    law = gmm40().target
    assert law.means.shape == (40, 2)
    assert law.means.abs().max() < 40
    # torch.manual_seed(0); torch.rand(1) is .4963.
    assert law.means[0].numpy() == pytest.approx([-0.2995, 21.4577], abs=2e-4)
    deviation = torch.nn.functional.softplus(torch.ones((), dtype=torch.float64))
    assert torch.allclose(law.covariances, deviation**2 * torch.eye(2, dtype=torch.float64))
    assert deviation.item() == pytest.approx(1.3133, abs=5e-5)


def test_cells_of_a_grid_are_products():
    edges, centres = np.array([-np.inf, -7.5, -2.5, 2.5, 7.5, np.inf]), np.arange(-10, 11, 5)
    along = np.diff(stats.norm.cdf(edges[:, None], centres, math.sqrt(0.3)), axis=0).mean(1)
    assert gmm25().truth.shares.numpy() == pytest.approx(np.outer(along, along).ravel(), abs=1e-8)
    assert torch.allclose(gmm25().target.covariances, 0.3 * torch.eye(2, dtype=torch.float64))


def test_a_cell_is_not_a_weight():
    """Two means one deviation apart, of weights .2 and .8, at an angle: the cell of the first has .2 a + .8 (1 - a)."""
    means = torch.tensor([[0.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    law = Mixture(torch.tensor([0.2, 0.8]), means, torch.eye(2).expand(2, 2, 2))
    a = stats.norm.cdf(0.5)
    assert cells(law).numpy() == pytest.approx([0.2 * a + 0.8 * (1 - a), 0.8 * a + 0.2 * (1 - a)], abs=1e-7)
    assert two_modes(1).truth.shares.numpy() == pytest.approx(
        [0.3 + 0.4 * stats.norm.sf(2), 0.7 - 0.4 * stats.norm.sf(2)], abs=1e-12
    )
    assert two_modes().truth.shares.numpy() == pytest.approx([0.3, 0.7], abs=1e-12)


def school_integrals():
    """log Z, means and deviations of mu, tau and theta by scipy, from the joint normal law given tau."""
    y, sigma = EFFECTS.numpy(), ERRORS.numpy()

    def given(tau):
        # (mu, theta) has covariance 25 everywhere, and tau^2 more on the diagonal of theta.
        prior = np.full((9, 9), 25.0) + np.diag([0.0] + [tau**2] * 8)
        noisy = prior[1:, 1:] + np.diag(sigma**2)
        gain = np.linalg.solve(noisy, prior[1:]).T
        mean, covariance = gain @ y, prior - gain @ prior[1:]
        density = stats.multivariate_normal(np.zeros(8), noisy).pdf(y) * stats.halfcauchy(scale=5).pdf(tau)
        mean = np.insert(mean, 1, tau)
        second = np.insert(covariance.diagonal(), 1, 0.0) + mean**2
        return density * np.concatenate([[1.0], mean, second])

    total = sum(
        integrate.quad_vec(given, low, high, epsabs=0, epsrel=1e-9)[0] for low, high in [(0, 5), (5, 30), (30, 1e3)]
    )
    mean = total[1:11] / total[0]
    return math.log(total[0]), mean, np.sqrt(total[11:] / total[0] - mean**2)


def test_the_eight_schools_are_known_exactly():
    log_z, mean, deviation = school_integrals()
    truth = schools().truth
    assert truth.log_z == pytest.approx(log_z, abs=1e-7)
    assert truth.log_z == pytest.approx(-31.311347, abs=1e-6)
    assert truth.mean.numpy() == pytest.approx(mean, abs=1e-6)
    assert truth.deviation.numpy() == pytest.approx(deviation, abs=1e-6)


def test_the_eight_schools_are_those_of_posteriordb():
    """Its 10,000 reference draws gave these means and deviations; 4.5 of their standard errors."""
    reference = {"mu": (4.4105, 3.309), "tau": (3.602, 3.199), "theta_1": (6.151, 5.616), "theta_7": (6.317, 5.003)}
    problem = schools()
    for name, (mean, deviation) in reference.items():
        i = problem.names.index(name)
        assert problem.truth.mean[i].item() == pytest.approx(mean, abs=4.5 * deviation / 100)
        assert problem.truth.deviation[i].item() == pytest.approx(deviation, rel=0.05)


def test_the_schools_density_is_prior_times_likelihood():
    """Term by term by scipy; the Jacobian of log tau is tau."""
    x = points(10, scale=1.0)
    mu, log_tau, eta = x[:, 0].numpy(), x[:, 1].numpy(), x[:, 2:].numpy()
    tau = np.exp(log_tau)
    expected = (
        stats.norm.logpdf(mu, scale=5)
        + stats.halfcauchy.logpdf(tau, scale=5)
        + stats.norm.logpdf(eta).sum(1)
        + stats.norm.logpdf(EFFECTS.numpy(), mu[:, None] + tau[:, None] * eta, ERRORS.numpy()).sum(1)
    )
    log_p = schools().log_prob(x).numpy()
    assert log_p == pytest.approx(expected + log_tau, abs=1e-10)
    assert log_p != pytest.approx(expected, abs=1e-10)


def test_schools_take_a_data_set_for_each_point():
    x, y = points(10, 5), points(8, 5, 10.0)
    many = Schools(y, ERRORS)
    one_by_one = [Schools(data, ERRORS) for data in y]
    assert torch.allclose(many.log_prob(x), torch.cat([law.log_prob(x[i : i + 1]) for i, law in enumerate(one_by_one)]))
    assert torch.allclose(many.score(x), torch.cat([law.score(x[i : i + 1]) for i, law in enumerate(one_by_one)]))
    with pytest.raises(BadInput, match="one data set"):
        many.sample(3)


def calibrated(spread, sets=150, draws=19):
    """Whether prior, data and posterior fit: the truth's rank among posterior draws is uniform (Talts et al. 2018).

    Means and spreads of the ranks of mu, log tau and theta_1, at 4.5 standard errors: an alarm once in 20,000.
    """
    model = Schools()
    truth = model.prior_draws(sets, rng=1)
    y = model.simulate(truth, rng=2)
    y = (
        truth[:, :1]
        + truth[:, 1:2].exp() * truth[:, 2:]
        + spread * (y - truth[:, :1] - truth[:, 1:2].exp() * truth[:, 2:])
    )
    ranks = torch.empty(sets, 3, dtype=torch.float64)
    for i in range(sets):
        x = torch.cat([truth[i : i + 1], Exact(y[i], ERRORS, 5.0).sample(draws, rng=Rng(3).child(i))])
        judged = torch.stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 1].exp() * x[:, 2]], 1)
        ranks[i] = (judged[1:] < judged[0]).sum(0) / draws - 0.5
    # Uniform on draws + 1 values from -1/2 to 1/2: its variance is (draws + 2) / (12 draws).
    variance = (draws + 2) / (12 * draws)
    mean_error = ranks.mean(0).abs() / math.sqrt(variance / sets)
    spread_error = (ranks**2 - variance).mean(0).abs() / ((ranks**2).std(0) / math.sqrt(sets))
    return bool((mean_error < 4.5).all() and (spread_error < 4.5).all())


def test_schools_are_calibrated():
    assert calibrated(1.0)
    assert not calibrated(3.0), "data three times as noisy as the posterior believes passed"


def test_the_logistic_posterior_peaks_where_scikit_learn_says():
    """A penalty of half the squared weights, and the intercept a weight like any other."""
    problem = logistic()
    features, labels = problem.target.features, problem.target.labels
    assert features.shape == (569, 31)
    assert len(problem.names) == 31
    assert torch.allclose(features[:, 1:].mean(0), torch.zeros(30, dtype=torch.float64), atol=1e-10)
    assert torch.allclose((features[:, 1:] ** 2).mean(0), torch.ones(30, dtype=torch.float64))
    fitted = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(features, labels)
    peak = torch.from_numpy(fitted.coef_)
    assert problem.target.score(peak).abs().max() < 1e-3
    assert problem.target.score(1.01 * peak).abs().max() > 1e-2
    p = torch.sigmoid(points(31, 4, 0.1) @ features.T)
    likelihood = torch.where(labels == 1, p, 1 - p).log().sum(1)
    prior = stats.norm.logpdf(points(31, 4, 0.1).numpy()).sum(1)
    assert problem.log_prob(points(31, 4, 0.1)).numpy() == pytest.approx(likelihood.numpy() + prior, abs=1e-8)


def test_the_cox_process_is_poisson_given_its_field():
    problem = cox()
    law = problem.target
    x = law.prior.sample(6, rng=1)
    counts = law.counts.numpy()
    # 126 points are expected; the field makes their number vary.
    assert 50 < counts.sum() < 300
    assert torch.equal(law.counts, cox().target.counts)
    expected = stats.poisson.logpmf(counts, np.exp(x.numpy()) / 256).sum(1)
    assert law.log_likelihood(x).numpy() == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(problem.log_prob(x), law.prior.log_prob(x) + law.log_likelihood(x))
    covariance = law.prior.covariance
    assert covariance[0, 0].item() == pytest.approx(1.91)
    assert covariance[0, 1].item() == pytest.approx(1.91 * math.exp(-33 / 16))
    assert covariance[0, 17].item() == pytest.approx(1.91 * math.exp(-33 * math.sqrt(2) / 16))
    # E e^x = 126 for a field with mean log 126 - 1.91 / 2.
    assert (law.prior.mean[0] + covariance[0, 0] / 2).exp().item() == pytest.approx(126)
    assert Cox(torch.zeros(9)).event_shape == (9,)


def brute(length, beta):
    """log Z and E of (energy per spin, |m|) by a sum over all states, bond by bond in Python."""
    places = list(itertools.product(range(length), repeat=2))
    weights, values = [], []
    for spins in itertools.product([-1, 1], repeat=length**2):
        at = dict(zip(places, spins, strict=True))
        bonds = sum(at[i, j] * (at[(i + 1) % length, j] + at[i, (j + 1) % length]) for i, j in places)
        weights.append(math.exp(beta * bonds))
        values.append((-bonds / length**2, abs(sum(spins)) / length**2))
    weights = np.array(weights)
    return math.log(weights.sum()), (weights / weights.sum()) @ np.array(values)


def test_small_lattices_are_summed_over():
    log_z, mean = brute(3, 0.3)
    truth = small_ising(3, 0.3).truth
    assert truth.log_z == pytest.approx(log_z, abs=1e-10)
    assert truth.mean[[0, 2]].numpy() == pytest.approx(mean, abs=1e-10)
    assert truth.mean[1].item() == pytest.approx(0, abs=1e-12)
    assert len(SmallIsing(3, 0.3).states.unique(dim=0)) == 512
    assert SmallIsing(4, 0.3).states.shape == (65536, 4, 4)


@pytest.mark.parametrize(("length", "beta"), [(3, 0.3), (4, 0.05), (4, CRITICAL), (4, 0.7), (3, 1.0)])
def test_kaufmans_formula_is_the_sum_over_states(length, beta):
    truth = small_ising(length, beta).truth
    assert log_partition(length, beta) == pytest.approx(truth.log_z, abs=1e-9)
    assert energy(length, beta) == pytest.approx((truth.mean[0].item(), truth.deviation[0].item()), abs=1e-9)


def test_large_lattices_tend_to_onsagers():
    """At the critical temperature: -sqrt 2 per spin, and the free energy 2 G / pi + log 2 / 2, G Catalan's constant."""
    assert log_partition(256, CRITICAL) / 256**2 == pytest.approx(0.9296953983, abs=2e-5)
    assert energy(256, CRITICAL)[0] == pytest.approx(-math.sqrt(2), abs=3e-3)
    truth = ising(8, CRITICAL).truth
    assert truth.log_z == pytest.approx(60.1417808, abs=1e-6)
    assert torch.isnan(truth.mean).tolist() == [False, False, True]
    assert torch.isnan(truth.deviation).tolist() == [False, True, True]


@pytest.mark.parametrize("length", [3, 5])
def test_flips_and_conditionals_are_differences_of_the_density(length):
    law = Ising(length, 0.37)
    x = points(length**2).sign().view(-1, length, length)
    differences = law.flip_differences(x)
    u = Rng(6).uniform((30,), dtype=torch.float64)
    for i in range(length**2):
        flipped = x.clone()
        flipped.flatten(1)[:, i] *= -1
        by_hand = law.log_prob(flipped) - law.log_prob(x)
        assert torch.allclose(differences.flatten(1)[:, i], by_hand, atol=1e-12)
        # P(up) = p(up) / (p(up) + p(down)), and the key's uniform number decides.
        towards_up = torch.where(x.flatten(1)[:, i] > 0, -by_hand, by_hand)
        expected = torch.where(u < torch.sigmoid(towards_up), 1.0, -1.0).double()
        assert torch.equal(law.conditional(x, i, rng=6), expected)
    assert not torch.allclose(differences, -law.flip_differences(x))


def test_a_tie_of_spins_goes_by_the_first():
    x = torch.ones(2, 4, 4)
    x[:, :2] = -1
    x[1] *= -1
    assert small_ising(4, 0.3).truth.mode(x).tolist() == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: gaussian(0, 10.0),
        lambda: gaussian(3, 0.5),
        lambda: many_well(3),
        lambda: double_well(3, 4, 1.0),
        lambda: double_well(3, 2, 10.0),
        lambda: Schools(torch.zeros(7), ERRORS),
        lambda: Schools(torch.zeros(8), -ERRORS),
        lambda: Ising(2, 0.4),
        lambda: SmallIsing(5, 0.4),
        lambda: ising(4, 0.0),
        lambda: schools(torch.zeros(3, 8)),
    ],
)
def test_parameters_that_make_no_target_are_refused(wrong):
    with pytest.raises(BadInput, match="; "):
        wrong()
