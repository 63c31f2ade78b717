"""Spikes and slabs against sums over all levels, and the bound that they are trained on against exact probabilities."""

import math

import pytest
import torch
from torch import Tensor, nn

from driftback.evaluation.bound import variational_bound
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.scores import lattice
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.spikes import ELSEWHERE, HIGH, LOW, SHARE, Posterior, Spikes
from driftback.training.times import stratified

COUNT, START, STEP = 64, -1.0, 2 / 63
LAW = Posterior(
    torch.tensor([0.4, 0.1, 0.3, 0.2], dtype=torch.float64).log().reshape(1, 1, 4, 1, 1),
    torch.tensor([-0.3, 0.35], dtype=torch.float64).reshape(1, 1, 2, 1, 1),
    torch.tensor([0.12, 0.08], dtype=torch.float64).log().reshape(1, 1, 2, 1, 1),
)
"""Two spikes and two slabs, the same for every coordinate."""
LEVELS = START + STEP * torch.arange(COUNT, dtype=torch.float64)


def shares() -> Tensor:
    """The exact probability of each level, (count,)."""
    slabs = torch.exp(-0.5 * ((LEVELS[:, None] - LAW.means.flatten()) / LAW.log_deviations.flatten().exp()) ** 2)
    slabs = STEP * slabs / (LAW.log_deviations.flatten().exp() * math.sqrt(2 * math.pi))
    out = slabs @ LAW.log_weights.flatten()[2:].exp()
    out[0] += 0.4
    out[-1] += 0.1
    return out


CENTRE = float(shares() @ LEVELS)
SPREAD = float((shares() @ LEVELS**2 - CENTRE**2).sqrt())
SPIKES = Spikes(START, STEP, COUNT, SPREAD, CENTRE, slabs=2)


def output(n: int, *places: int) -> Tensor:
    """What a network has to say for `LAW`, (n, 8, *places)."""
    means = (LAW.means.flatten() - CENTRE) / SPREAD - torch.tensor([-0.5, 0.5], dtype=torch.float64)
    deviations = LAW.log_deviations.flatten() - math.log(0.3 * SPREAD)
    weights = LAW.log_weights.flatten() + torch.tensor([3.0, 3.0, 0.0, 0.0])
    said = torch.cat([weights + 1.0, means, deviations])
    return said.reshape(1, -1, *[1] * len(places)).expand(n, -1, *places)


class Told(nn.Module):
    """A network that says `LAW`, whatever it is shown, and nothing else."""

    encoder = None
    closed_form = None

    def forward(self, shown: Tensor, number: Tensor, *more: object, **options: object) -> Tensor:
        return output(len(shown), *shown.shape[2:])


@pytest.fixture(scope="module")
def denoiser() -> LearnedDenoiser:
    return LearnedDenoiser(Diffusion(EDM(HIGH * SPREAD), (1, 4, 4), SPREAD), Told(), SPIKES)


def items(n: int, *event: int, seed: int = 0) -> Tensor:
    """Items whose coordinates are drawn from the exact probabilities."""
    u = Rng(seed).uniform((n, *event), dtype=torch.float64)
    return LEVELS[torch.searchsorted(shares().cumsum(0) / shares().sum(), u).clamp(max=COUNT - 1)]


def test_a_network_can_say_a_law() -> None:
    law = SPIKES.posterior(output(2, 3, 5), 1)
    for name in ("log_weights", "means", "log_deviations"):
        found, wanted = getattr(law, name), getattr(LAW, name)
        assert found.shape == (2, 1, wanted.shape[2], 3, 5)
        assert torch.allclose(found, wanted.expand_as(found), atol=1e-12), name
    assert float(shares().sum()) == pytest.approx(1, abs=1e-3), "the law has next to nothing outside of its levels"


@pytest.mark.parametrize("ratio", [0.02, 0.05, 0.3, 1.0, 30.0])
def test_the_posterior_mean_is_that_of_the_law(ratio: float) -> None:
    """Against the two spikes and a fine sum over the slabs."""
    y = torch.linspace(-1.2, 1.2, 25, dtype=torch.float64).reshape(25, 1, 1, 1)
    one = torch.tensor(1.0, dtype=torch.float64)
    found = SPIKES.denoised(output(25, 1, 1), y, one, ratio * one).flatten()
    fine = torch.linspace(-2, 2, 20_001, dtype=torch.float64)
    density = torch.zeros_like(fine)
    for k in range(2):
        mean, deviation = LAW.means.flatten()[k], LAW.log_deviations.flatten()[k].exp()
        bell = torch.exp(-0.5 * ((fine - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        density += LAW.log_weights.flatten()[2 + k].exp() * bell * (fine[1] - fine[0])
    places = torch.cat([torch.tensor([-1.0, 1.0], dtype=torch.float64), fine])
    prior = torch.cat([torch.tensor([0.4, 0.1], dtype=torch.float64), density])
    weight = (prior.log() - 0.5 * ((y.reshape(-1, 1) - places) / ratio) ** 2).softmax(1)
    assert torch.allclose(found, weight @ places, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.4])
def test_levels_have_their_posterior_probabilities(ratio: float) -> None:
    y, one = torch.tensor([-1.01, -0.97, -0.31, 0.02, 0.99], dtype=torch.float64), torch.ones((), dtype=torch.float64)
    x = y.reshape(5, 1, 1, 1).expand(5, 1, 1, COUNT)
    x0 = LEVELS.reshape(1, 1, 1, COUNT).expand_as(x)
    every = [
        SPIKES.surprise(output(5, 1, 1), x0[..., k : k + 1], x[..., k : k + 1], one, ratio * one) for k in range(COUNT)
    ]
    wanted = (shares().log() - 0.5 * ((y[:, None] - LEVELS) / ratio) ** 2).softmax(1)
    found = (-torch.stack(every, 1)).exp()
    assert torch.allclose(found.sum(1), torch.ones(5, dtype=torch.float64), atol=1e-9), "they are probabilities"
    assert torch.allclose(found, wanted, atol=2e-6)
    assert float(found.min()) >= ELSEWHERE / COUNT, "no level is impossible"


def test_a_spike_counts_from_afar() -> None:
    """A network sure of black is told that it is wrong at 6.2 r as it is at 4.9 r."""
    sure = torch.tensor([23.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 8, 1, 1)
    one, r = torch.ones((), dtype=torch.float64), 0.0476
    x0 = LEVELS[8:9].reshape(1, 1, 1, 1)
    near, far = (float(SPIKES.surprise(sure, x0, torch.full_like(x0, START + k * r), one, r * one)) for k in (4.9, 6.2))
    assert near > 6
    assert near - far == pytest.approx((6.2**2 - 4.9**2) / 2, abs=1.5), "the evidence between them, and no cliff"
    black = SPIKES.surprise(sure, LEVELS[:1].reshape(1, 1, 1, 1), torch.full_like(x0, START), one, r * one)
    assert float(black) < 0.01


def test_there_are_no_levels_beyond_the_ends() -> None:
    """A slab wider than all levels: what lies outside of them is no part of what sums to one."""
    wide = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.2, 1.2], dtype=torch.float64).reshape(1, 8, 1, 1)
    one = torch.ones((), dtype=torch.float64)
    for at in (-1.02, 1.01):
        y = torch.full((1, 1, 1, 1), at, dtype=torch.float64)
        every = [SPIKES.surprise(wide, level.reshape(1, 1, 1, 1), y, one, 0.05 * one) for level in LEVELS]
        assert float((-torch.stack(every)).exp().sum()) == pytest.approx(1, abs=1e-9)


def test_few_levels_at_a_time_are_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x0 = items(3, 1, 4, 4)
    x, one = x0 + 0.05 * Rng(1).normal(x0.shape, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    whole = SPIKES.surprise(output(3, 4, 4), x0, x, one, 0.05 * one)
    monkeypatch.setattr(lattice, "AT_ONCE", 100)
    assert torch.allclose(SPIKES.surprise(output(3, 4, 4), x0, x, one, 0.05 * one), whole, atol=1e-9)


def test_items_are_summed_and_noise_levels_are_their_own() -> None:
    x0 = items(3, 1, 4, 4)
    ratios = torch.tensor([0.02, 0.1, 0.7], dtype=torch.float64)
    alpha = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)
    x = alpha.reshape(3, 1, 1, 1) * (x0 + ratios.reshape(3, 1, 1, 1) * Rng(1).normal(x0.shape, dtype=torch.float64))
    together = SPIKES.surprise(output(3, 4, 4), x0, x, alpha, alpha * ratios)
    for k in range(3):
        alone = sum(
            float(
                SPIKES.surprise(
                    output(1, 1, 1),
                    x0[k, 0, i, j].reshape(1, 1, 1, 1),
                    x[k, 0, i, j].reshape(1, 1, 1, 1),
                    alpha[k],
                    alpha[k] * ratios[k],
                )
            )
            for i in range(4)
            for j in range(4)
        )
        # Which levels are near enough to be counted one by one goes by the most noise in a batch.
        assert float(together[k]) == pytest.approx(alone, abs=1e-4)


def test_the_bound_of_the_exact_law_is_its_log_probability(denoiser: LearnedDenoiser) -> None:
    """The slabs' levels are finer than the noise at the bottom: the gap is that of the noise's draws."""
    x0 = items(512, 1, 4, 4)
    found = variational_bound(denoiser, x0, spread=SPREAD, draws=64, rng=0)
    exact = shares()[((x0 - START) / STEP).round().long()].log().flatten(1).sum(1)
    apart = (found.nats - exact).numpy()
    noise = apart.std() / math.sqrt(len(apart))
    assert abs(apart.mean()) < 4 * noise, "one in 15,000 seeds fails"
    assert noise < 0.01 * abs(float(exact.mean()))
    assert 0.7 < apart.std() / float(found.error.square().mean().sqrt()) < 1.4, "the error told is the draws' own"


def test_the_loss_is_the_bound(denoiser: LearnedDenoiser) -> None:
    """Its mean over the law of times: stratified, so that 20,000 draws are enough for two per cent."""
    n, law = 20_000, SPIKES.times
    x0 = items(n, 1, 2, 2, seed=3)
    t = law.quantile(stratified(n, torch.Generator().manual_seed(0)), denoiser.process)
    alpha, sigma = denoiser.process.alpha(t), denoiser.process.sigma(t)
    x = x0 + sigma.reshape(-1, 1, 1, 1) * Rng(4).normal(x0.shape, dtype=torch.float64)
    losses = SPIKES.loss(output(n, 2, 2), x0, x, alpha, sigma)
    entropy = -float(shares() @ shares().log())
    assert float(losses.mean()) == pytest.approx(entropy, rel=0.02)
    asked = sigma <= SPIKES.bottom * (1 + 1e-6)
    assert float(asked.double().mean()) == pytest.approx(SHARE, abs=1e-3)
    few = asked.nonzero()[:200, 0]
    exactly = SPIKES.surprise(output(200, 2, 2), x0[few], x[few], alpha[few], sigma[few]) / 4
    assert torch.allclose(losses[few] * SHARE, exactly, atol=1e-9)


@pytest.mark.parametrize(("centre", "spread"), [(0.0, 0.6), (0.72, 0.065), (-0.74, 0.1), (0.79, 0.018)])
def test_a_network_that_says_nothing_costs_little_and_learns(centre: float, spread: float) -> None:
    """Zeros are a start, also for pictures that are all light or all dark: no loss beyond a few nats at any noise, and
    gradients for every output.
    """
    n, law = 256, Spikes(-1.0, 2 / 255, 256, spread, centre, slabs=2)
    x0 = centre + spread * Rng(0).normal((n, 1, 2, 2)).clamp(-1.2, 1.2)
    x0 = -1 + law.step * ((x0 + 1) / law.step).round().clamp(0, 255)
    sigma = torch.logspace(math.log10(LOW * spread), math.log10(HIGH * spread), n, dtype=torch.float64)
    x = x0 + sigma.float().reshape(-1, 1, 1, 1) * Rng(4).normal(x0.shape)
    silent = torch.zeros(n, 8, 2, 2, requires_grad=True)
    loss = law.loss(silent, x0, x, torch.ones_like(sigma), sigma)
    assert float(loss.detach().max()) < 100
    loss.mean().backward()
    assert torch.isfinite(silent.grad).all()
    assert (silent.grad.abs().amax((0, 2, 3)) > 0).all()


def test_what_is_shown() -> None:
    """The scaled item, and the share of each spike by its own value under a flat choice with one wide slab."""
    one, y = torch.ones((), dtype=torch.float64), torch.tensor([-1.0, 1.0, 0.1], dtype=torch.float64)
    for ratio in (0.03, 0.5):
        shown = SPIKES.shown(y.reshape(3, 1, 1, 1), one, ratio * one).flatten(1)
        wide = math.sqrt(SPREAD**2 + ratio**2)
        parts = torch.stack(
            [torch.exp(-0.5 * ((y - at) / w) ** 2) / w for at, w in ((-1.0, ratio), (1.0, ratio), (CENTRE, wide))]
        )
        wanted = torch.stack([y / wide, *(parts[:2] / parts.sum(0))], 1)
        assert torch.allclose(shown, wanted, atol=1e-12)
    assert SPIKES.channels(3) == (9, 24)
    assert SPIKES.natural(one, one) is None
