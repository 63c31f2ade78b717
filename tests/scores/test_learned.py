"""Parametrisations against what they stand for: a network that outputs the exact target must denoise exactly."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.networks.backbone import Backbone
from driftback.networks.embedding import ClassBias, Conditioning
from driftback.networks.presets import NetworkSpec, build
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, VP, Schedule, Straight
from driftback.scores.guided import GuidedDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import (
    Levels,
    Linear,
    predict_data,
    predict_edm,
    predict_flow,
    predict_noise,
    predict_velocity,
)
from driftback.shapes import per_item

SPREAD = 0.7
LINEAR: dict[str, tuple[Callable[[float], Linear], Callable[..., Tensor], Schedule]] = {
    "data": (predict_data, lambda x0, e, a, s: x0, VP()),
    "noise": (predict_noise, lambda x0, e, a, s: e, VP()),
    "velocity": (predict_velocity, lambda x0, e, a, s: per_item(a, e) * e - per_item(s, x0) * x0, VP()),
    "velocity, variance exploding": (
        predict_velocity,
        lambda x0, e, a, s: per_item(a, e) * e - per_item(s, x0) * x0,
        EDM(5.0),
    ),
    "flow": (predict_flow, lambda x0, e, a, s: e - x0, Straight()),
}


def draw(schedule: Schedule) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x0 = SPREAD * torch.randn(64, 1, 3, 3, generator=generator, dtype=torch.float64)
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.01, 0.99, 64, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return x0, eps, per_item(alpha, x0) * x0 + per_item(sigma, x0) * eps, alpha, sigma


@pytest.mark.parametrize("name", LINEAR)
def test_exact_output_denoises_exactly(name: str) -> None:
    make, meaning, schedule = LINEAR[name]
    x0, eps, x, alpha, sigma = draw(schedule)
    output = meaning(x0, eps, alpha, sigma)
    found = make(SPREAD).denoised(output, x, alpha, sigma)
    assert torch.allclose(found, x0, atol=1e-10)
    assert float(make(SPREAD).loss(output, x0, x, alpha, sigma).abs().max()) < 1e-16
    # Planted fault: the same output with the sign of its coefficient flipped.
    wrong = replace(make(SPREAD), c_out=lambda a, s, d: -make(d).c_out(a, s, d))
    assert not torch.allclose(wrong.denoised(output, x, alpha, sigma), x0, atol=1e-3)


def test_edm_target_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    p, n = predict_edm(SPREAD), 200_000
    for ratio in (0.01, 0.3, 5.0):
        x0 = SPREAD * torch.randn(n, generator=generator, dtype=torch.float64)
        alpha, sigma = torch.tensor(1.0, dtype=torch.float64), torch.tensor(ratio, dtype=torch.float64)
        x = x0 + ratio * torch.randn(n, generator=generator, dtype=torch.float64)
        target = (x0 - p.c_skip(alpha, sigma, SPREAD) * x) / p.c_out(alpha, sigma, SPREAD)
        # The variance of n squares has standard error sqrt(2/n) = .0032; 4 of them is a false alarm in 15,000.
        assert abs(float(target.var()) - 1) < 4 * math.sqrt(2 / n)
        assert abs(float((p.c_in(alpha, sigma, SPREAD) * x).var()) - 1) < 4 * math.sqrt(2 / n)


def test_edm_on_gaussian_data_with_zero_output_is_exact() -> None:
    x0, _, x, alpha, sigma = draw(VP())
    exact = per_item(alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2), x) * x
    assert torch.allclose(predict_edm(SPREAD).denoised(torch.zeros_like(x), x, alpha, sigma), exact, atol=1e-12)
    assert x0.shape == x.shape


class TestLevels:
    """One coordinate with a prior over four levels: everything is a finite sum."""

    levels = Levels(-1.0, 0.5, 4, spread=0.5)
    prior = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)

    def log_posterior(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        values = torch.tensor([-1.0, -0.5, 0.0, 0.5], dtype=torch.float64)
        weight = self.prior.log() - (x[:, None] - alpha * values) ** 2 / (2 * sigma**2)
        return weight - weight.logsumexp(1, keepdim=True)

    @pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.05), (0.8, 0.6), (0.3, 3.0)])
    def test_posterior_is_bayes(self, alpha: float, sigma: float) -> None:
        x = torch.linspace(-2, 2, 41, dtype=torch.float64)
        # Any constant added to the logits cancels.
        output = (self.prior.log() + 3.0).expand(41, 4)
        a, s = (torch.full((41,), v, dtype=torch.float64) for v in (alpha, sigma))
        log_exact = self.log_posterior(x, alpha, sigma)
        exact = log_exact.exp()
        found = self.levels.log_probability(output, x[:, None], a, s)
        assert torch.allclose(found[:, 0].exp(), exact, atol=1e-12)
        mean = exact @ torch.tensor([-1.0, -0.5, 0.0, 0.5], dtype=torch.float64)
        assert torch.allclose(self.levels.denoised(output, x[:, None], a, s)[:, 0], mean, atol=1e-12)
        x0 = torch.full((41, 1), 0.5, dtype=torch.float64)
        loss = self.levels.loss(output, x0, x[:, None], a, s)
        assert torch.allclose(loss, -log_exact[:, 3], atol=1e-12)
        # Planted fault: sigma for sigma^2 in the evidence.
        wrong = self.levels.log_probability(output, x[:, None], a, s.sqrt()).exp()
        assert not torch.allclose(wrong[:, 0], exact, atol=1e-3)

    def test_pictures_keep_their_places(self) -> None:
        x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
        t = torch.ones(2, dtype=torch.float64)
        assert self.levels.channels(3) == (15, 12)
        assert self.levels.shown(x, t, t).shape == (2, 15, 4, 5)
        output = torch.zeros(2, 12, 4, 5)
        output[:, 4 + 2] = 50.0  # channel 1, level 2
        found = self.levels.denoised(output, x, t, t)
        assert torch.allclose(found[:, 1], torch.zeros(2, 4, 5), atol=1e-5)
        assert float(found[:, 0].abs().max()) > 0.01

    def test_index_is_the_nearest_level(self) -> None:
        assert self.levels.index(torch.tensor([-1.0, -0.6, 0.01, 0.5])).tolist() == [0, 1, 2, 3]


def conditional() -> LearnedDenoiser:
    network = Backbone(torch.nn.Identity(), Conditioning(4, 2), ClassBias((2,), 2))
    network.body.forward = lambda x, c: 0 * x  # type: ignore[method-assign]
    with torch.no_grad():
        network.bias.table.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]]))
    return LearnedDenoiser(Diffusion(EDM(), (2,)), network, predict_data(1.0))


def test_given_selects_the_class() -> None:
    denoiser, x = conditional(), torch.zeros(3, 2)
    assert denoiser.given(torch.tensor([0, 1, 0])).denoised(x, 0.5).tolist() == [[1, 0], [0, 2], [1, 0]]
    assert denoiser.denoised(x, 0.5)[0].tolist() == [0.5, 0.5]
    with pytest.raises(BadInput, match=r"0 \.\. 1"):
        denoiser.given(2)


def test_guidance_extrapolates() -> None:
    denoiser, x = conditional(), torch.zeros(1, 2)
    towards, plain = denoiser.given(0).denoised(x, 0.5), denoiser.denoised(x, 0.5)
    for weight in (0.0, 0.5, 2.0):
        guided = GuidedDenoiser(denoiser.given(0), denoiser, weight)
        assert torch.allclose(guided.denoised(x, 0.5), (1 + weight) * towards - weight * plain)
        # In the score: (1 + w) s_c - w s_0.
        scores = (1 + weight) * denoiser.given(0).score(x, 0.5) - weight * denoiser.score(x, 0.5)
        assert torch.allclose(guided.score(x, 0.5), scores)
    assert torch.allclose(guided.given(1).denoised(x, 0.5), 3 * denoiser.given(1).denoised(x, 0.5) - 2 * plain)


def test_network_is_told_the_ratio_whatever_the_schedule() -> None:
    spec = NetworkSpec(kind="mlp", widths=(8,), depth=1)
    network = build(spec, 2, 2, (2,), 0).eval()
    heard = []
    network.conditioning.register_forward_hook(lambda module, args, out: heard.append(args[0]))
    for schedule in (VP(), EDM(), Straight()):
        process = Diffusion(schedule, (2,))
        t = process.time_of(0.37)
        LearnedDenoiser(process, network, predict_edm(1.0)).denoised(torch.zeros(1, 2), t)
    assert torch.allclose(torch.cat(heard), torch.full((3,), math.log(0.37) / 4), atol=1e-6)
    # The singular end is an ordinary number.
    LearnedDenoiser(Diffusion(Straight(), (2,)), network, predict_flow(1.0)).denoised(torch.zeros(1, 2), 1.0)
    assert heard[-1].tolist() == [5.0]
