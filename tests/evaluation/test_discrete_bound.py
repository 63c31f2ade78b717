"""The bounds of chains against what they are bounds of: exact log-densities, probabilities of levels, entropies."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.evaluation import discrete_bound as room
from driftback.evaluation.discrete_bound import discrete_bound
from driftback.evaluation.entropy_bound import entropy_bound
from driftback.evaluation.likelihood import LogLikelihood
from driftback.evaluation.typicality import typicality
from driftback.processes import VE, VP, Diffusion, DiscreteChain, linear_betas
from driftback.samplers.grids import uniform
from driftback.samplers.levels import levels_of
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.recorded import RecordedDenoiser

TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.5, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.4]]]),
)
X = TARGET.sample(2000, rng=1)


def chain(steps: int) -> tuple[ExactDenoiser, Tensor]:
    """DDPM's, with as many betas whose sum is that of the thousand."""
    schedule = DiscreteChain(linear_betas(steps, 0.1 / steps, min(20 / steps, 0.9)))
    return ExactDenoiser(Diffusion(schedule, (2,), 1.2), TARGET), schedule.times


def gap(steps: int, **options: float) -> tuple[float, float]:
    """How far the bound lies under the exact log-density, on average over 2,000 draws, and its standard error."""
    denoiser, times = chain(steps)
    found = discrete_bound(denoiser, X, times, rng=2, **options)
    apart = TARGET.log_prob(X) - found.nats
    return float(apart.mean()), float(apart.std()) / math.sqrt(len(X))


def test_ddpms_bound_rises_to_the_log_density() -> None:
    """With exact scores and variances beta the gap vanishes as T grows; with beta~ the first steps, in each of which
    the noise grows by a large factor however many there are, cost .9 nats for ever.
    """
    gaps = {steps: gap(steps) for steps in (20, 100, 1000)}
    for mean, error in gaps.values():
        assert mean > -4 * error, "a lower bound"
    assert gaps[20][0] > 0.05
    # Measured: .20, .02 and .005, each with a standard error of .034.
    assert abs(gaps[1000][0]) < 4 * gaps[1000][1]
    assert gap(200, share=0.0)[0] > 0.7


def test_a_bound_that_forgets_a_term_is_none() -> None:
    denoiser, times = chain(200)
    found = discrete_bound(denoiser, X, times, rng=2)
    truth = TARGET.log_prob(X).mean()
    assert set(found.terms) == {"L_T", "L_t", "L_0"}
    assert torch.allclose(-sum(found.terms.values()), found.nats)
    assert float(found.terms["L_T"].mean()) == pytest.approx(0.0, abs=0.02)
    without = found.nats + found.terms["L_0"]
    assert abs(float(without.mean() - truth)) > 0.5


def test_wider_steps_cost_what_the_textbook_says() -> None:
    """KL of two Gaussians of variances beta~ and beta: the bound is lower, at D = x_0 by a sum that is known."""

    class Knows(Denoiser):
        def __init__(self) -> None:
            self.process = chain(50)[0].process

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return X[: len(x)]

    times = chain(50)[1]
    narrow, wide = (discrete_bound(Knows(), X[:5], times, share=share, rng=0).terms["L_t"] for share in (0.0, 1.0))
    levels = levels_of(Knows().process, times)
    ratios = [after.sigma**2 / now.sigma**2 for now, after in pairwise(levels[:-1])]
    assert torch.allclose(narrow, torch.zeros(5, dtype=torch.float64))
    assert torch.allclose(wide, torch.full((5,), sum(r - 1 - math.log(r) for r in ratios), dtype=torch.float64))


def test_some_of_the_steps_stand_for_all() -> None:
    denoiser, times = chain(400)
    every = discrete_bound(denoiser, X, times, rng=2)
    some = discrete_bound(denoiser, X, times, draws=32, rng=3)
    assert every.evaluations == 403
    assert some.evaluations == 36
    error = float((some.nats - every.nats).std()) / math.sqrt(len(X))
    assert abs(float((some.nats - every.nats).mean())) < 4 * error
    spread = torch.stack([discrete_bound(denoiser, X[:200], times, draws=32, rng=k).nats for k in range(20)]).std(0)
    told = discrete_bound(denoiser, X[:200], times, draws=32, rng=3).error
    # Steep integrands make the error too large.
    assert 0.5 < float(told.square().mean().sqrt() / spread.square().mean().sqrt()) < 2


@pytest.mark.parametrize(("steps", "bound"), [(2, entropy_bound), (2, discrete_bound), (8, discrete_bound)])
def test_what_is_read_off_and_a_lone_step_are_in_the_error(steps: int, bound: Callable[..., LogLikelihood]) -> None:
    """Of a chain of few steps the end is most of the randomness, and the only step that is drawn has an error too."""
    denoiser, _ = chain(400)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 3
    found = bound(denoiser, X[:4].repeat_interleave(250, 0), times, rng=0)
    true = found.nats.reshape(4, 250).var(1).mean().sqrt()
    assert float(found.error.square().mean().sqrt()) == pytest.approx(float(true), rel=0.15)


def test_the_mean_errs_by_as_much_as_it_says() -> None:
    """Of eight draws, shifted for each item: with one shift for all the mean erred four times as much."""
    denoiser, times = chain(400)
    found = [discrete_bound(denoiser, X[:500], times, draws=8, rng=k) for k in range(30)]
    spread = torch.stack([one.nats.mean() for one in found]).std()
    assert float(spread) < 1.5 * float(found[0].error.square().mean().sqrt()) / math.sqrt(500) + 0.01


def test_a_process_that_begins_with_noise_is_read_off_there() -> None:
    process = Diffusion(VE(0.02, 100.0), (2,), 1.2)
    times = torch.linspace(1, 0, 801, dtype=torch.float64)
    denoiser, truth = ExactDenoiser(process, TARGET), float(TARGET.log_prob(X).mean())
    for bound in (discrete_bound, entropy_bound):
        found = bound(denoiser, X, times, rng=0)
        error = float((found.nats - TARGET.log_prob(X)).std()) / math.sqrt(len(X))
        assert truth - 0.1 < found.mean < truth + 4 * error + 0.01


def test_sohl_dicksteins_bound_is_told_of_the_data_themselves() -> None:
    """N(0, 9) and a first step that shrinks by a twentieth: without log alpha_1 it lies above the truth."""
    wide = Mixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 9.0))
    schedule = DiscreteChain(torch.cat([torch.tensor([0.1]), torch.full((400,), 0.02)]).double())
    x = wide.sample(4000, rng=0)
    found = entropy_bound(ExactDenoiser(Diffusion(schedule, (1,), 3.0), wide), x, schedule.times, rng=0)
    truth = -0.5 * math.log(2 * math.pi * math.e * 9)
    assert found.mean < truth + 0.005
    assert found.mean - 0.5 * math.log(0.9) > truth + 0.03


def test_the_discrete_decoder_is_a_law_of_levels() -> None:
    """Its probabilities sum to 1, also far from the mean and where the noise is tiny."""
    levels = torch.linspace(-1, 1, 9, dtype=torch.float64)
    process = Diffusion(VP(), (1,), 0.6)

    class Says(Denoiser):
        def __init__(self, mean: float) -> None:
            self.process, self.mean = process, mean

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return torch.full_like(x, self.mean)

    from driftback.randomness import Rng

    for t, mean in ((0.05, 0.1), (0.3, 0.9), (1e-3, -0.26), (0.05, 3.0)):
        last = levels_of(process, torch.tensor([t], dtype=torch.float64))[0]
        nats = room._read(Says(mean), levels[:, None], last, levels, Rng(0))
        assert torch.isfinite(nats).all()
        assert float((-nats).exp().sum()) == pytest.approx(1.0, abs=1e-9)
        normal = torch.distributions.Normal(torch.tensor(mean).double(), torch.tensor(last.sigma).double())
        half = 0.125
        inner = normal.cdf(levels + half) - normal.cdf(levels - half)
        near = (inner > 1e-12) & (levels.abs() < 0.99)
        assert torch.allclose((-nats).exp()[near], inner[near], rtol=1e-6)


def test_of_levels_it_is_a_bound_on_a_probability() -> None:
    """Points on levels with exact scores, each as likely: the bound rises to -log of their number."""
    points = torch.tensor([[-1.0, -1.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    levels = torch.linspace(-1, 1, 3, dtype=torch.float64)
    denoiser = RecordedDenoiser(Diffusion(DiscreteChain(linear_betas(300, 1e-4, 20 / 300)), (2,), 0.9), points)
    times = denoiser.process.schedule.times
    found = discrete_bound(denoiser, points.repeat(200, 1), times, levels=levels, rng=0)
    error = float(found.nats.std()) / math.sqrt(800)
    assert -math.log(4) - 0.1 < found.mean < -math.log(4) + 4 * error


def test_sohl_dicksteins_bound_is_one_on_the_entropy() -> None:
    """K <= E log p, and near it where the first step is short."""
    truth = float(TARGET.log_prob(X).mean())
    # Measured: .11 and .01 below, each with a standard error of .033.
    for steps, least in ((40, 0.3), (1000, 0.15)):
        denoiser, times = chain(steps)
        found = entropy_bound(denoiser, X, times, rng=0)
        error = float(found.nats.std()) / math.sqrt(len(X))
        assert truth - least < found.mean < truth + 4 * error
        assert torch.allclose(found.terms["entropies"] - found.terms["steps"], found.nats)
    # Planted fault: entropies in the wrong order of the chain's ends.
    assert abs(found.mean - 2 * float(found.terms["entropies"][0]) - truth) > 1


def test_chains_that_are_none_are_refused() -> None:
    denoiser, _ = chain(10)
    with pytest.raises(BadInput, match="the last one to t = 0"):
        discrete_bound(denoiser, X, uniform(denoiser.process, 4, end=0.1))
    with pytest.raises(BadInput, match="two steps"):
        discrete_bound(denoiser, X, torch.tensor([1.0, 0.0], dtype=torch.float64))
    with pytest.raises(BadInput, match="at least 2"):
        discrete_bound(denoiser, X, uniform(denoiser.process, 4), draws=1)


def test_what_is_too_likely_is_not_typical() -> None:
    """Gaussian data of 100 numbers: their densest place, the mean, is like none of them; draws are."""
    normal = torch.distributions.Normal(0.0, 1.0)

    def log_p(x: Tensor) -> Tensor:
        return normal.log_prob(x).sum(1)

    generator = torch.Generator().manual_seed(0)
    known, new = (log_p(torch.randn(n, 100, generator=generator)) for n in (999, 4000))
    p = typicality(new, known).p
    for level in (0.05, 0.2, 0.5):
        share = float((p <= level).double().mean())
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) * (1 / 4000 + 1 / 999))
    grey = typicality(log_p(torch.zeros(1, 100)), known)
    assert float(log_p(torch.zeros(1, 100))) > float(new.max())
    assert float(grey.p) == pytest.approx(1 / 1000)
    far = typicality(log_p(torch.full((1, 100), 3.0)), known)
    assert float(far.p) == pytest.approx(1 / 1000)
    with pytest.raises(BadInput, match="20 or more"):
        typicality(new, known[:19])
    for nats, others in ((torch.tensor([math.nan]), known), (new, torch.cat([known, torch.tensor([math.nan])]))):
        with pytest.raises(BadInput, match=r"1 of the log-likelihoods of .* are NaN"):
            typicality(nats, others)
