"""Langevin moves keep p_t, find it from elsewhere, and correct a predictor in the order that is promised."""

import math

import pytest
import torch
from scipy import stats

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.randomness import Rng
from driftback.samplers import Ancestral, Frame, Heun, Langevin, PredictorCorrector, last, log_snr
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.5], [1.0]]), torch.tensor([[[0.2]], [[0.3]]]))
T, N = 0.3, 2000


class Steep(Denoiser):
    """A planted fault: `factor` times the true score."""

    def __init__(self, true, factor):
        self.process, self.true, self.factor = true.process, true, factor

    def denoised(self, x, t):
        alpha = self.process.alpha(t)
        return ((1 - self.factor) * x + self.factor * alpha * self.true.denoised(x, t)) / alpha


@pytest.fixture(params=["vp", "ve", "edm"])
def denoiser(request):
    return ExactDenoiser(Diffusion(SCHEDULES[request.param](), (1,)), TARGET)


def at_ratio(process, ratio):
    return float(process.time_of(ratio))


def p_value(x, process, t):
    law = TARGET.noised(float(process.alpha(t)), float(process.sigma(t)))
    deviations = law.covariances[:, 0, 0].sqrt().numpy()
    return stats.kstest(
        x[:, 0].numpy(),
        lambda v: stats.norm.cdf((v[:, None] - law.means[:, 0].numpy()) / deviations) @ law.weights.numpy(),
    ).pvalue


def test_moves_keep_the_law(denoiser):
    """From exact draws, 150 moves at one time: still exact (a false alarm once in 1,000). A wrong score is refused."""
    process, t = denoiser.process, at_ratio(denoiser.process, 0.8)
    x = TARGET.noised(float(process.alpha(t)), float(process.sigma(t))).sample(N, rng=0)
    kept = Langevin(denoiser, steps=150, snr=0.1).move(x, t, rng=1)
    assert kept.evaluations == 150
    assert p_value(kept.x, process, t) > 1e-3
    for factor in (0.5, 2.0):
        assert p_value(Langevin(Steep(denoiser, factor), steps=150, snr=0.1).move(x, t, rng=1).x, process, t) < 1e-3


def test_moves_find_the_law(denoiser):
    """From one point far away, 400 moves: the law (a false alarm once in 1,000)."""
    process, t = denoiser.process, at_ratio(denoiser.process, 1.2)
    x = torch.full((N, 1), 2 * float(process.alpha(t)), dtype=torch.float64)
    assert p_value(x, process, t) < 1e-3
    assert p_value(Langevin(denoiser, steps=400, snr=0.14).move(x, t, rng=1).x, process, t) > 1e-3


def test_one_move_is_songs_step(denoiser):
    """e = 2 (r |z| / |score|)^2 with |z| / |score| = sigma; noise sqrt(2 e)."""
    x, sigma = torch.tensor([[0.5]], dtype=torch.float64), float(denoiser.process.sigma(T))
    step = 2 * (0.16 * sigma) ** 2
    noise = Rng(3).child("noise", 0).normal((1, 1), dtype=torch.float64)
    moved = Langevin(denoiser).move(x, T, rng=3).x
    assert torch.allclose(moved, x + step * denoiser.score(x, T) + math.sqrt(2 * step) * noise, atol=1e-12)
    assert not torch.allclose(moved, x + step * denoiser.score(x, T) + math.sqrt(step) * noise, atol=1e-6)


def test_without_noise_there_is_nothing_to_correct():
    vp = ExactDenoiser(Diffusion(SCHEDULES["vp"](), (1,)), TARGET)
    x = torch.ones(3, 1)
    frame = Langevin(vp, steps=4).move(x, 0.0, rng=0)
    assert frame.x is x
    assert frame.evaluations == 0


def test_a_key_gives_each_item_its_own_moves(denoiser):
    x = torch.zeros(80, 1, dtype=torch.float64)
    times = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64)
    frames = list(Langevin(denoiser, steps=2)(x, times, rng=1))
    assert [frame.evaluations for frame in frames] == [0, 2, 4]
    part = last(Langevin(denoiser, steps=2)(x[70:], times, rng=Rng(1).item(70))).x
    assert torch.allclose(part, frames[-1].x[70:], atol=1e-12)


def test_predictor_first_corrector_after(denoiser):
    """Each frame is a predictor's step, followed by the corrector's moves at the new time."""
    calls = []

    class Predictor:
        def __call__(self, x, times, *, rng=None):
            calls.append(("predict", *times.tolist()))
            yield from (Frame(float(t), x) for t in times)

    class Corrector(Langevin):
        def move(self, x, t, *, rng=None):
            calls.append(("correct", t))
            return super().move(x, t, rng=rng)

    times = torch.tensor([0.6, 0.3, 0.0], dtype=torch.float64)
    list(PredictorCorrector(Predictor(), Corrector(denoiser))(torch.zeros(2, 1), times, rng=0))
    assert calls == [("predict", 0.6, 0.3), ("correct", 0.3), ("predict", 0.3, 0.0), ("correct", 0.0)]


class Flat(Denoiser):
    """No score anywhere: what moves is noise."""

    process = Diffusion(SCHEDULES["ve"](), (2000,))

    def denoised(self, x, t):
        return x


class Still:
    def __call__(self, x, times, *, rng=None):
        yield from (Frame(float(t), x) for t in times)


@pytest.mark.parametrize("make", [lambda c: c, lambda c: PredictorCorrector(Still(), c)], ids=["alone", "corrector"])
def test_no_move_uses_the_noise_of_another(make):
    """Three times, two moves each: the changes of 2,000 numbers have no correlation beyond 5 of its errors."""
    times = torch.tensor([0.9, 0.8, 0.7, 0.6], dtype=torch.float64)
    x = torch.zeros(1, 2000, dtype=torch.float64)

    def largest(steps):
        frames = [frame.x[0] for frame in make(Langevin(Flat(), steps=steps))(x, times, rng=1)]
        return float(torch.corrcoef(torch.stack(frames).diff(dim=0)).fill_diagonal_(0).abs().max())

    assert largest(1) < 5 / math.sqrt(2000)
    assert largest(2) < 5 / math.sqrt(2000)
    one = Langevin(Flat(), steps=2).move(x, 0.9, rng=1).x - x
    deviation = math.sqrt(2 * 2 * 2 * (0.16 * float(Flat.process.sigma(0.9))) ** 2)
    assert float(one.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * 2000))


def test_evaluations_of_both_are_counted():
    vp = ExactDenoiser(Diffusion(SCHEDULES["vp"](), (1,)), TARGET)
    times = log_snr(vp.process, 5)
    x = torch.zeros(2, 1)
    corrector = Langevin(vp, steps=3)
    assert last(PredictorCorrector(Ancestral(vp), corrector)(x, times, rng=0)).evaluations == 5 + 3 * 4
    assert last(PredictorCorrector(Heun(vp), corrector)(x, times, rng=0)).evaluations == 9 + 3 * 4


def test_steps_and_snr_that_make_no_move_are_refused(denoiser):
    with pytest.raises(BadInput, match="at least 1 step"):
        Langevin(denoiser, steps=0)
    with pytest.raises(BadInput, match="snr"):
        Langevin(denoiser, snr=0.0)
