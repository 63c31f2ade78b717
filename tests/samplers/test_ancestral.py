"""Ancestral steps are bridges from the guess of x_0 to where we are, and eta scales their noise as DDIM says."""

import math

import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.randomness import Rng
from driftback.samplers import Ancestral, last
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.5], [1.0, -0.3]]), 0.1 * torch.eye(2).expand(2, 2, 2))
PAIRS = [(1.0, 0.7), (0.6, 0.5), (0.3, 0.01), (0.2, 0.0)]


def noise_of(denoiser, x, t, s):
    """The noise of a step from t to s under the key 4."""
    levels = levels_of(denoiser.process, torch.tensor([t, s], dtype=torch.float64))
    return next(step_noise(levels, x, Rng(4)))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_a_step_with_eta_one_is_the_bridge(name, t, s):
    """The same noise, the same point."""
    denoiser = ExactDenoiser(Diffusion(SCHEDULES[name](), (2,)), TARGET)
    x = denoiser.process.simple_at(t).sample(10, rng=0).double()

    def bridge(guess):
        mean, deviation = denoiser.process.bridge_moments(guess, x, t, s)
        return mean + deviation * noise_of(denoiser, x, t, s)

    guess = denoiser.denoised(x, t)
    out = last(Ancestral(denoiser)(x, torch.tensor([t, s], dtype=torch.float64), rng=4)).x
    assert torch.allclose(out, bridge(guess), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(out, bridge(guess + 0.1), atol=1e-3)


@pytest.mark.parametrize("eta", [0.3, 0.7])
@pytest.mark.parametrize(("t", "s"), PAIRS[1:3])
def test_eta_is_ddims(eta, t, s):
    """Equations 12 and 16 of Song et al. 2021 for VP, in the paper's own letters."""
    denoiser = ExactDenoiser(Diffusion(SCHEDULES["vp"](), (2,)), TARGET)
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    now, before = float(denoiser.process.alpha(t)) ** 2, float(denoiser.process.alpha(s)) ** 2
    sigma = eta * math.sqrt((1 - before) / (1 - now)) * math.sqrt(1 - now / before)
    noise, z = denoiser.noise(x, t), noise_of(denoiser, x, t, s)
    guess = (x - math.sqrt(1 - now) * noise) / math.sqrt(now)
    paper = math.sqrt(before) * guess + math.sqrt(1 - before - sigma**2) * noise + sigma * z
    out = last(Ancestral(denoiser, eta)(x, torch.tensor([t, s], dtype=torch.float64), rng=4)).x
    assert torch.allclose(out, paper, rtol=1e-10, atol=1e-10)
    # Noise that forgets to make room for itself is another law.
    assert not torch.allclose(out, paper + (math.sqrt(1 - before) - math.sqrt(1 - before - sigma**2)) * noise)


@pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
def test_eta_outside_its_range_is_refused(eta):
    with pytest.raises(BadInput, match="DDIM"):
        Ancestral(ExactDenoiser(Diffusion(SCHEDULES["vp"](), (2,)), TARGET), eta)
