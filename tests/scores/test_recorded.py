"""The recorded cloud's denoiser is the exact one with components of no width, also where numbers get hard."""

import math
from dataclasses import replace

import pytest
import torch

from driftback.distributions import Mixture, recall
from driftback.errors import BadInput
from driftback.evaluation.likelihood import ode_log_likelihood
from driftback.processes import SCHEDULES, Diffusion
from driftback.scores.exact import ExactDenoiser
from driftback.scores.recorded import RecordedDenoiser

M, D = 40, 6
VE = Diffusion(SCHEDULES["ve"](), (D,))


def normal(n, seed, *event):
    return torch.randn(n, *event, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POINTS, LABELS = normal(M, 0, D), torch.arange(M) % 3


def as_mixture(points):
    return Mixture(torch.ones(len(points)), points, torch.zeros(len(points), D, D))


@pytest.fixture(params=SCHEDULES)
def process(request):
    return Diffusion(SCHEDULES[request.param](), (D,))


def test_a_recorded_cloud_is_a_mixture_without_width(process):
    x = process.forward(POINTS[:10], 0.3, rng=0)
    ours, exact = RecordedDenoiser(process, POINTS), ExactDenoiser(process, as_mixture(POINTS))
    for t in (0.05, 0.3, torch.linspace(0.1, 1, 10, dtype=torch.float64)):
        assert torch.allclose(ours.denoised(x, t), exact.denoised(x, t), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(
            ours.denoised(x, t), RecordedDenoiser(process, POINTS + 0.01).denoised(x, t), atol=1e-6
        )


def test_its_score_is_the_gradient_of_log_p_t(process):
    x = process.forward(POINTS[:10], 0.4, rng=0).requires_grad_()
    log_p = as_mixture(POINTS).noised(process.alpha(0.4), process.sigma(0.4)).log_prob(x)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    score = RecordedDenoiser(process, POINTS).score(x.detach(), 0.4)
    assert torch.allclose(score, gradient, rtol=1e-8, atol=1e-8)
    assert not torch.allclose(2 * score, gradient, rtol=0.1)


def test_its_own_gradient_is_right():
    """The derivative of E[x_0 | x_t] in x_t, which exact likelihoods need."""
    denoiser = RecordedDenoiser(Diffusion(SCHEDULES["vp"](), (D,)), POINTS[:5])
    assert torch.autograd.gradcheck(lambda x: denoiser.denoised(x, 0.3), normal(3, 1, D).requires_grad_())


def test_its_likelihood_is_exact():
    """Its gradients are taken for all numbers at once, which a gradient of one's own must allow."""
    points = normal(30, 4, 2)
    denoiser, x = RecordedDenoiser(Diffusion(SCHEDULES["edm"](), (2,)), points), points[:6] + 0.3 * normal(6, 5, 2)
    found = ode_log_likelihood(denoiser, x, spread=1.0, low=0.3)
    far = torch.cdist(x, points) ** 2 / (2 * 0.3**2)
    exact = (-far).logsumexp(1) - math.log(30 * 2 * math.pi * 0.3**2)
    assert "exact" in found.method
    assert torch.allclose(found.nats, exact, atol=0.02)


def test_chunks_change_nothing(monkeypatch):
    x = normal(17, 1, D)
    whole = RecordedDenoiser(VE, POINTS).denoised(x, 0.6)
    for entries in (1, 40, 100):
        monkeypatch.setattr(recall, "ENTRIES", entries)
        assert torch.allclose(RecordedDenoiser(VE, POINTS).denoised(x, 0.6), whole, rtol=1e-12, atol=1e-12)


def test_far_points_in_a_later_chunk_change_nothing(monkeypatch):
    """Their weights vanish beside what came before, whatever the order."""
    monkeypatch.setattr(recall, "ENTRIES", 2 * D)
    points = torch.cat([POINTS[:2], POINTS[:2] + 1000, POINTS[:2] - 1000])
    near = RecordedDenoiser(VE, POINTS[:2]).denoised(POINTS[:2], 0.3)
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]):
        assert torch.allclose(RecordedDenoiser(VE, points[order]).denoised(POINTS[:2], 0.3), near, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [1e-3, 1e-6, 1e-12])
def test_at_almost_no_noise_it_is_the_nearest_point(sigma, dtype):
    """Also far from the origin, where squares of numbers would drown the distances."""
    process = Diffusion(SCHEDULES["edm"](), (D,))
    points = 1000 + POINTS
    x = (points[:8] + 1e-4).to(dtype)
    out = RecordedDenoiser(process, points).denoised(x, sigma / 80)
    assert out.dtype == dtype
    assert torch.equal(out, points[:8].to(dtype))


def test_halfway_between_two_points_is_their_mean():
    pair = torch.tensor([[1000.0], [1000.5]], dtype=torch.float64)
    process = Diffusion(SCHEDULES["edm"](), (1,))
    middle = torch.tensor([[1000.25]], dtype=torch.float64)
    out = RecordedDenoiser(process, pair).denoised(middle, 1e-8 / 80)
    assert torch.allclose(out, middle, atol=1e-9)


def test_halfway_is_halfway_where_squares_have_no_digits_left():
    pair = torch.tensor([[1000.1], [1000.7]], dtype=torch.float64)
    out = RecordedDenoiser(Diffusion(SCHEDULES["edm"](), (1,)), pair).denoised(pair.mean(0, keepdim=True), 1e-5 / 80)
    assert torch.allclose(out, pair.mean(0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["cosine", "straight"])
def test_where_nothing_is_left_it_is_the_mean(name):
    out = RecordedDenoiser(Diffusion(SCHEDULES[name](), (D,)), POINTS).denoised(normal(3, 1, D), 1.0)
    assert torch.allclose(out, POINTS.mean(0).expand(3, D), atol=1e-12)


def test_a_label_restricts_the_cloud():
    x, denoiser = normal(9, 1, D), RecordedDenoiser(VE, POINTS, LABELS)
    one = denoiser.given(1).denoised(x, 0.7)
    assert torch.allclose(one, RecordedDenoiser(VE, POINTS[LABELS == 1]).denoised(x, 0.7), atol=1e-12)
    each = torch.arange(9) % 3
    mixed = denoiser.given(each).denoised(x, torch.full((9,), 0.7))
    assert torch.allclose(mixed[each == 1], one[each == 1], atol=1e-12)
    assert not torch.allclose(mixed, denoiser.denoised(x, 0.7), atol=1e-3)


def test_other_points_are_another_cloud():
    denoiser, x = RecordedDenoiser(VE, POINTS, LABELS), normal(4, 1, D)
    denoiser.denoised(x, 0.7)
    assert denoiser.given(1).recalls is denoiser.recalls, "classes of one cloud share what was made"
    moved = replace(denoiser, points=POINTS + 1)
    assert torch.equal(moved.denoised(x, 0.7), RecordedDenoiser(VE, POINTS + 1).denoised(x, 0.7))
    assert torch.equal(
        moved.given(1).denoised(x, 0.7), RecordedDenoiser(VE, POINTS + 1, LABELS).given(1).denoised(x, 0.7)
    )


def test_pictures_are_points():
    process = Diffusion(SCHEDULES["vp"](), (1, 2, 3))
    x = normal(4, 1, 1, 2, 3).float()
    out = RecordedDenoiser(process, POINTS.reshape(M, 1, 2, 3)).denoised(x, 0.3)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert torch.allclose(out.flatten(1), RecordedDenoiser(process, POINTS).denoised(x.flatten(1), 0.3))


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(BadInput, match="no recorded point has the label 5; the labels are 0, 1, 2"):
        RecordedDenoiser(VE, POINTS, LABELS).given(5)
    with pytest.raises(BadInput, match="no labels"):
        RecordedDenoiser(VE, POINTS).given(0)
    with pytest.raises(BadInput, match="at least one point"):
        RecordedDenoiser(VE, POINTS[:0])
    with pytest.raises(BadInput, match="one each"):
        RecordedDenoiser(VE, POINTS, LABELS[:3])
