"""Likelihoods against densities and probabilities that are known exactly."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.evaluation import bound
from driftback.evaluation.bound import variational_bound
from driftback.evaluation.likelihood import LogLikelihood, ode_log_likelihood, probes_for
from driftback.networks.backbone import Backbone
from driftback.networks.embedding import ClassBias, Conditioning
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, VP, Schedule, Straight, SubVP
from driftback.randomness import Rng
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels, predict_edm


def mixture(d: int) -> Mixture:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, d, generator=generator, dtype=torch.float64)
    roots = 0.3 * torch.randn(3, d, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
    covariances = roots @ roots.mT + 0.1 * torch.eye(d, dtype=torch.float64)
    return Mixture(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), means, covariances)


class Doubled(Denoiser):
    """A planted fault: the exact denoiser's correction of x, doubled."""

    def __init__(self, exact: ExactDenoiser) -> None:
        self.exact, self.process = exact, exact.process

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        return x + 2 * (self.exact.denoised(x, t) - x)


@pytest.mark.parametrize("schedule", [EDM(160), VP(), SubVP(), Straight()], ids=repr)
def test_exact_divergence(schedule: Schedule) -> None:
    target = mixture(2)
    denoiser = ExactDenoiser(Diffusion(schedule, (2,)), target)
    x = target.sample(50, rng=1)
    found = ode_log_likelihood(denoiser, x, spread=1.1, low=1e-3)
    assert "exact" in found.method
    assert found.products == 2 * found.evaluations, "two backward passes for each evaluation"
    assert found.evaluations < 400
    # What is left is the blur of the start (1e-3), the far end's mismatch and the steps.
    assert float((found.nats - target.log_prob(x)).abs().max()) < 1e-3
    assert not found.error.any()


def test_exact_divergence_errs_by_less_than_a_ten_thousandth() -> None:
    """The mean absolute error of log p over draws of the mixture, whose far end is far enough and start near enough."""
    target = mixture(2)
    denoiser, x = ExactDenoiser(Diffusion(EDM(2000), (2,)), target), target.sample(200, rng=1)
    found = ode_log_likelihood(denoiser, x, spread=1.1, low=1e-4, tolerance=1e-6)
    assert float((found.nats - target.log_prob(x)).abs().mean()) < 1e-4


def test_half_the_tolerance_tells_what_the_steps_contribute() -> None:
    target = mixture(2)
    denoiser, x = ExactDenoiser(Diffusion(EDM(160), (2,)), target), target.sample(100, rng=1)
    exact = ode_log_likelihood(denoiser, x, spread=1.1, tolerance=1e-9).nats
    for tolerance in (1e-2, 1e-4):
        found = ode_log_likelihood(denoiser, x, spread=1.1, tolerance=tolerance, check=True)
        alone = ode_log_likelihood(denoiser, x, spread=1.1, tolerance=tolerance)
        assert alone.discretisation is None
        assert found.evaluations > 1.5 * alone.evaluations
        assert torch.allclose((found.nats - alone.nats).abs(), found.discretisation)
        told, true = float(found.discretisation.mean()), float((found.nats - exact).abs().mean())
        assert true < 5 * told + 1e-9, "what is left is of the size that is told"


def test_steps_are_no_shorter_than_they_may_be() -> None:
    class Rough(Denoiser):
        """A network's noise in its last digits, which no step is short enough for."""

        process = Diffusion(EDM(160), (2,))

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return x * 0.5 + 1e-3 * torch.sin(1e6 * x)

    found = ode_log_likelihood(Rough(), torch.ones(3, 2), tolerance=1e-9, most=20)
    assert torch.isfinite(found.nats).all()
    assert found.evaluations <= 1 + 6 * 25


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_of_a_gaussian_the_far_end_may_be_near(spread: float) -> None:
    """The law at the far end is N(0, spread^2 + r^2) exactly, so noise of four deviations is enough."""
    covariance = spread**2 * torch.eye(2, dtype=torch.float64)
    target = Mixture(torch.ones(1), torch.zeros(1, 2), covariance[None])
    denoiser = ExactDenoiser(Diffusion(EDM(4 * spread), (2,)), target)
    x = target.sample(20, rng=1)
    assert torch.allclose(ode_log_likelihood(denoiser, x, spread=spread).nats, target.log_prob(x), atol=2e-5)
    assert not torch.allclose(ode_log_likelihood(denoiser, x, spread=1.1 * spread).nats, target.log_prob(x), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"probes": 1}, "probes must be at least 2"),
        ({"probes": -1}, "probes must be at least 2"),
        ({"probes": 2.5}, "probes must be a whole number"),
        ({"low": 0}, "low must be above 0"),
        ({"low": 300}, "low must be under the noise at the far end, 160 deviations"),
        ({"low": math.nan}, "low must be a number"),
        ({"tolerance": 0}, "tolerance must be above 0"),
        ({"spread": 0}, "spread must be above 0"),
        ({"most": 0}, "most must be at least 1"),
    ],
)
def test_ranges_are_kept(options: dict, said: str) -> None:
    denoiser = ExactDenoiser(Diffusion(EDM(160), (2,)), mixture(2))
    with pytest.raises(BadInput, match=said):
        ode_log_likelihood(denoiser, torch.zeros(2, 2), **options)


def test_events_may_be_single_numbers() -> None:
    target = Mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1))
    exact = ExactDenoiser(Diffusion(EDM(160), (1,)), target)

    class Single(Denoiser):
        process = Diffusion(EDM(160), ())

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return exact.denoised(x[:, None], t)[:, 0]

    x = target.sample(5, rng=0)
    assert torch.allclose(ode_log_likelihood(Single(), x[:, 0]).nats, target.log_prob(x), atol=1e-4)


def test_of_one_item_the_methods_error_is_told() -> None:
    nats = torch.tensor([3.0], dtype=torch.float64)
    assert LogLikelihood(nats, torch.tensor([0.5]), "", 1).standard_error == pytest.approx(0.5)
    assert LogLikelihood(nats, torch.zeros(1), "", 1).standard_error is None
    assert LogLikelihood(nats, torch.tensor([math.nan]), "", 1).standard_error is None


def test_a_doubled_correction_is_rejected() -> None:
    target = mixture(2)
    x = target.sample(20, rng=1)
    wrong = Doubled(ExactDenoiser(Diffusion(EDM(160), (2,)), target))
    found = ode_log_likelihood(wrong, x, spread=1.1)
    assert not bool(((found.nats - target.log_prob(x)).abs() < 0.1).all())


def test_hutchinson_within_its_standard_error() -> None:
    target = mixture(20)
    denoiser = ExactDenoiser(Diffusion(EDM(160), (20,)), target)
    x = target.sample(150, rng=1)
    found = ode_log_likelihood(denoiser, x, spread=1.0, probes=8, rng=2)
    assert "8 probes" in found.method
    z = (found.nats - target.log_prob(x)) / found.error
    # Student's t with 7 degrees of freedom: |z| < 3.5 in 99 %, and the mean of 150 has a standard error of about .1.
    assert float((z.abs() < 3.5).double().mean()) > 0.95
    assert abs(float(z.mean())) < 0.4
    with pytest.raises(BadInput, match="a level of 95 is no probability"):
        found.interval(95)
    low, high = found.interval()
    covered = float(((low <= target.log_prob(x)) & (target.log_prob(x) <= high)).double().mean())
    # 150 trials of 95 %: within .07 but for one time in 15,000. Normal quantiles would cover 91 %.
    assert abs(covered - 0.95) < 0.07
    again = ode_log_likelihood(denoiser, x[100:], spread=1.0, probes=8, rng=Rng(2).item(100))
    assert torch.allclose(again.nats, found.nats[100:], atol=1e-9), "an item's value does not depend on its batch"


def test_intervals_know_how_few_the_probes_are() -> None:
    """Student's t with 7 degrees of freedom has 2.3646 where a normal law has 1.96."""
    nats = torch.tensor([3.0], dtype=torch.float64)
    for freedom, reach in ((7, 2.3646), (None, 1.9600)):
        low, high = LogLikelihood(nats, 0.5 * torch.ones(1).double(), "", 1, freedom=freedom).interval()
        assert float(high - nats) == pytest.approx(0.5 * reach, rel=1e-4)
        assert float(nats - low) == pytest.approx(0.5 * reach, rel=1e-4)


def test_event_shapes() -> None:
    target = Mixture(torch.ones(1).double(), torch.zeros(1, 6).double(), torch.eye(6).double()[None])
    exact = ExactDenoiser(Diffusion(EDM(160), (6,)), target)

    class Shaped(Denoiser):
        process = Diffusion(EDM(160), (1, 2, 3))

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return exact.denoised(x.flatten(1), t).reshape(x.shape)

    x = target.sample(9, rng=0)
    found = ode_log_likelihood(Shaped(), x.reshape(9, 1, 2, 3))
    assert torch.allclose(found.nats, target.log_prob(x), atol=1e-3)


LEVELS = Levels(-1.0, 0.4, 6, spread=0.65)


def independent(copies: int = 1) -> tuple[LearnedDenoiser, Tensor]:
    """Three coordinates with known probabilities per level, or `copies` times these, as a network that says just these;
    and their logarithms.
    """
    probability = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) + 0.05
    log_p = (probability / probability.sum(1, keepdim=True)).log().repeat(copies, 1)
    d, numbers = len(log_p), log_p.numel()
    body = torch.nn.Identity()
    body.forward = lambda x, c: 0 * x[:, :numbers]  # type: ignore[method-assign]
    network = Backbone(body, Conditioning(4), ClassBias((numbers,)))
    with torch.no_grad():
        network.bias.table.copy_(log_p.reshape(1, numbers))  # type: ignore[union-attr]
    return LearnedDenoiser(Diffusion(EDM(160), (d,)), network, LEVELS), log_p.double()


def gap(draws: int = 256) -> tuple[float, float]:
    """How far the bound of the exact model is from the log-probability, on all 216 items, and the standard error."""
    denoiser, log_p = independent()
    index = torch.tensor(list(product(range(6), repeat=3)))
    x0 = LEVELS.values(torch.zeros(1))[index]
    truth = sum(log_p[i, index[:, i]] for i in range(3))
    found = variational_bound(denoiser, x0, spread=0.65, draws=draws, rng=0).nats - truth
    return float(found.mean()), float(found.std()) / math.sqrt(216)


def test_bound_is_tight_for_the_exact_denoiser(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exact posterior mean the continuous bound is the log-probability (Kingma et al. 2021, section 4)."""
    mean, noise = gap()
    # 4 standard errors of the mean gap are a false alarm in 15,000.
    assert abs(mean) < 4 * noise
    # Planted fault: an integral that is a tenth too large.
    exact = bound.integrand
    monkeypatch.setattr(bound, "integrand", lambda *given: 1.1 * exact(*given))
    mean, noise = gap()
    assert abs(mean) > 4 * noise


@pytest.mark.slow
def test_the_bounds_error_is_its_spread_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, log_p = independent(copies=16)
    index = torch.multinomial(log_p.exp(), 100, replacement=True, generator=torch.Generator().manual_seed(1)).T
    x0 = LEVELS.values(torch.zeros(1))[index]

    def ratio(draws: int) -> float:
        """Reported over true standard error, root mean square over 100 items and 20 seeds."""
        found = [variational_bound(denoiser, x0, spread=0.65, draws=draws, rng=seed) for seed in range(20)]
        true = torch.stack([one.nats for one in found]).var(0).mean()
        return float((torch.stack([one.error for one in found]) ** 2).mean() / true) ** 0.5

    # Measured: 1.05 and 1.42. Both sides rest on 2,000 values, so that a ratio has a standard error of about .025.
    assert 0.95 < ratio(32) < 1.25
    assert 0.95 < ratio(8) < 2, "with few strata the integrand's curve counts too, on the safe side"
    # Planted fault: the spread over all strata, as if they were draws of one law.
    monkeypatch.setattr(bound, "stratified_error", lambda terms: terms.std(0) / math.sqrt(len(terms)))
    assert ratio(32) > 2


def test_the_decoders_draw_adds_nothing_to_the_error() -> None:
    denoiser, _ = independent()
    x0 = LEVELS.values(torch.zeros(1))[torch.tensor(list(product(range(6), repeat=3)))]
    error = float(variational_bound(denoiser, x0, spread=0.65, rng=0).error.mean())

    @torch.no_grad()
    def spread(noise: float) -> float:
        clock = math.log(noise)
        found = [bound._reconstruction(denoiser, LEVELS, x0, clock, Rng(k)) for k in range(20)]
        return float(torch.stack(found).std(0).max())

    assert spread(LEVELS.step / 12) < 1e-3 * error
    # Planted fault: a decoder at a third of a level, which does err.
    assert spread(LEVELS.step / 3) > 1e-3 * error


def test_one_draw_has_no_error() -> None:
    denoiser, _ = independent()
    with pytest.raises(BadInput, match="at least 2"):
        variational_bound(denoiser, torch.full((2, 3), -1.0), draws=1)


def test_bound_of_a_worse_model_is_lower() -> None:
    denoiser, log_p = independent()
    index = torch.multinomial(log_p.exp(), 400, replacement=True, generator=torch.Generator().manual_seed(1)).T
    x0 = LEVELS.values(torch.zeros(1))[index]
    entropy = -float(sum(log_p[i, index[:, i]] for i in range(3)).mean())
    # Both means have a standard error of .015 to .02 (the spread of 12 seeds at 64 draws, over 4).
    right = variational_bound(denoiser, x0, spread=0.65, draws=1024, rng=0)
    assert abs(-right.mean - entropy) < 0.08
    with torch.no_grad():
        denoiser.network.bias.table.zero_()  # type: ignore[union-attr]
    flat = variational_bound(denoiser, x0, spread=0.65, draws=1024, rng=0)
    # The uniform model's probability is exact too: 3 log 6.
    assert flat.mean == pytest.approx(-3 * math.log(6), abs=0.08)
    assert flat.mean < right.mean


def test_what_the_far_end_costs_is_the_textbooks() -> None:
    """KL(N(x_0, r^2) || N(0, spread^2 + r^2)), summed over the coordinates."""
    x0, top, spread = torch.tensor([[0.5, -1.0], [0.0, 2.0]], dtype=torch.float64), math.log(1.7), 0.8
    normal = torch.distributions.Normal
    narrow, wide = (torch.full_like(x0, deviation) for deviation in (1.7, math.hypot(spread, 1.7)))
    exact = torch.distributions.kl_divergence(normal(x0, narrow), normal(torch.zeros_like(x0), wide)).sum(1)
    assert torch.allclose(bound.terminal_kl(x0, top, spread), exact, rtol=1e-12)
    assert not torch.allclose(bound.terminal_kl(x0, top, 1.1 * spread), exact, rtol=1e-3)


def test_strata_of_the_bound_integrate_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """int log r dlog r, an integrand that is known: within 4 standard errors, which four left ends miss by far."""
    denoiser, _ = independent()
    monkeypatch.setattr(bound, "integrand", lambda denoiser, x0, clock, rng: clock)
    monkeypatch.setattr(bound, "terminal_kl", lambda *given: 0.0)
    monkeypatch.setattr(bound, "_reconstruction", lambda denoiser, levels, x0, *more: torch.zeros(len(x0)))
    found = variational_bound(denoiser, torch.zeros(400, 3), spread=0.65, draws=4, rng=0).nats
    low, high = math.log(0.4 / 12), math.log(200 * 0.65)
    error = (high - low) ** 2 / 4 / math.sqrt(12 * 400)
    assert abs(float(found.mean()) + (high**2 - low**2) / 2) < 4 * error
    assert (high - low) ** 2 / 8 > 8 * error, "the bias of left ends"


def test_levels_are_read_off_with_new_noise_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all else is certain the error is that of four independent readings, 1/2 of one's."""
    denoiser, _ = independent()
    monkeypatch.setattr(bound, "integrand", lambda denoiser, x0, clock, rng: torch.zeros(len(x0)))
    monkeypatch.setattr(bound, "_reconstruction", lambda denoiser, levels, x0, clock, rng: rng.normal((len(x0),)))
    found = variational_bound(denoiser, torch.zeros(4000, 3), spread=0.65, draws=4, rng=0)
    assert float(found.error.square().mean().sqrt()) == pytest.approx(0.5, rel=0.05)
    assert float(found.nats.std()) == pytest.approx(0.5, rel=0.05)


def test_the_decoder_sums_over_the_coordinates() -> None:
    """At noise of the levels' own width, where it costs something: the log-probability of each coordinate's level."""
    denoiser, log_p = independent()
    x0, clock = LEVELS.values(torch.zeros(1))[torch.tensor([[0, 1, 2], [5, 3, 4]])], math.log(LEVELS.step)
    noisy, t = bound.noised(denoiser, x0, torch.full((2,), clock, dtype=torch.float64), Rng(3))
    assert torch.allclose(denoiser.process.sigma(t), torch.full((2,), LEVELS.step, dtype=torch.float64))
    values = LEVELS.values(torch.zeros(1)).double()
    joint = log_p - (noisy.double()[..., None] - values) ** 2 / (2 * LEVELS.step**2)
    told = joint.log_softmax(-1).gather(-1, LEVELS.index(x0)[..., None])[..., 0]
    found = bound._reconstruction(denoiser, LEVELS, x0, clock, Rng(3))
    assert torch.allclose(found, -told.sum(1), atol=1e-5)
    assert not torch.allclose(found, -told.mean(1), atol=0.1)


def test_bound_needs_levels() -> None:
    denoiser, _ = independent()
    with pytest.raises(TypeError, match="levels"):
        variational_bound(replace(denoiser, parametrisation=predict_edm(1.0)), torch.zeros(2, 3))


def test_probes_are_fewer_where_each_averages_over_more() -> None:
    assert [probes_for(d) for d in (17, 16_384, 32_768, 116_412, 1 << 24)] == [8, 8, 4, 2, 2]
