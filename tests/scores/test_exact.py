"""The exact denoiser against autograd of log p_t, for every schedule."""

import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.scores.exact import ExactDenoiser

LABELS = torch.tensor([0, 1, 1])


def mixture():
    g = torch.Generator().manual_seed(3)
    roots = torch.randn(3, 4, 4, generator=g, dtype=torch.float64)
    means = torch.randn(3, 4, generator=g, dtype=torch.float64)
    return Mixture(torch.tensor([0.2, 0.5, 0.3]), means, roots @ roots.mT / 8)


def cloud(n=20, event=(4,), dtype=torch.float64):
    return torch.randn(n, *event, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(dtype)


def score_by_autograd(mixture, process, x, t):
    leaf = x.clone().requires_grad_()
    log_p = mixture.noised(process.alpha(t), process.sigma(t)).log_prob(leaf)
    return torch.autograd.grad(log_p.sum(), leaf)[0]


@pytest.fixture(params=SCHEDULES)
def process(request):
    return Diffusion(SCHEDULES[request.param](), (4,))


def test_the_score_is_the_gradient_of_log_p_t(process):
    x, denoiser = cloud(), ExactDenoiser(process, mixture())
    for t in (0.01, 0.3, 0.8, 1.0):
        expected = score_by_autograd(mixture(), process, x, t)
        assert torch.allclose(denoiser.score(x, t), expected, rtol=1e-8, atol=1e-10)
        assert not torch.allclose(denoiser.score(x, t), score_by_autograd(mixture(), process, 1.1 * x, t), rtol=1e-3)


def test_a_time_per_item_is_a_time_for_each(process):
    x, denoiser = cloud(3), ExactDenoiser(process, mixture())
    t = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    single = torch.cat([denoiser.denoised(x[i : i + 1], t[i]) for i in range(3)])
    assert torch.allclose(denoiser.denoised(x, t), single, atol=1e-12)


def test_the_velocity_moves_the_density(process):
    """The continuity equation d log p / dt = -div v - v . grad log p, by differences in t and autograd in x."""
    denoiser, t, h = ExactDenoiser(process, mixture()), 0.4, 1e-5
    x = process.forward(mixture().sample(20, rng=0), t, rng=1).requires_grad_()

    def log_p(time):
        return mixture().noised(process.alpha(time), process.sigma(time)).log_prob(x.detach())

    velocity = denoiser.velocity(x, t)
    divergence = sum(torch.autograd.grad(velocity[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(4))
    transport = -divergence - (velocity * denoiser.score(x, t)).sum(1)
    rate = (log_p(t + h) - log_p(t - h)) / (2 * h)
    assert torch.allclose(transport, rate, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(transport + divergence, rate, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_events_of_any_shape_are_the_flat_ones(dtype):
    process = Diffusion(SCHEDULES["vp"](), (1, 2, 2))
    denoiser, x = ExactDenoiser(process, mixture()), cloud(event=(1, 2, 2), dtype=dtype)
    out = denoiser.denoised(x, 0.5)
    assert out.dtype == dtype
    assert out.shape == x.shape
    assert torch.equal(out.flatten(1), denoiser.denoised(x.flatten(1), 0.5))


def test_a_label_selects_its_components(process):
    full, x = mixture(), cloud()
    denoiser = ExactDenoiser(process, full, LABELS)
    part = ExactDenoiser(process, Mixture(full.weights[1:], full.means[1:], full.covariances[1:]))
    assert torch.allclose(denoiser.given(1).denoised(x, 0.5), part.denoised(x, 0.5), atol=1e-12)
    each = torch.arange(20) % 2
    mixed = denoiser.given(each).denoised(x, 0.5)
    for label in (0, 1):
        rows = each == label
        assert torch.allclose(mixed[rows], denoiser.given(label).denoised(x, 0.5)[rows], atol=1e-12)
    assert not torch.allclose(mixed, denoiser.denoised(x, 0.5), atol=1e-3)


def test_labels_that_are_not_there_are_named():
    process = Diffusion(SCHEDULES["vp"](), (4,))
    with pytest.raises(BadInput, match="no component has the label 7; the labels are 0, 1"):
        ExactDenoiser(process, mixture(), LABELS).given(7)
    with pytest.raises(BadInput, match="no labels"):
        ExactDenoiser(process, mixture()).given(0)
