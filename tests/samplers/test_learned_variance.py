"""Steps of learned width: exact on Gaussian data in any number of steps, and only for models that have learned them."""

import math

import pytest
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes import Cosine, Diffusion, DiscreteChain, betas_of
from driftback.randomness import Rng
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.frame import last
from driftback.samplers.grids import uniform
from driftback.samplers.learned_variance import LearnedAncestral
from driftback.scores.denoiser import Denoiser
from driftback.scores.guided import GuidedDenoiser
from driftback.scores.learned_variance import step_variances

SPREAD = 0.7
PROCESS = Diffusion(DiscreteChain(betas_of(Cosine(), 400)), (2,), SPREAD)


class Known(Denoiser):
    """N(0, SPREAD^2 I): the exact D, and for each time of `times` the share of the step that follows it, plus `off`."""

    def __init__(self, times: Tensor, off: float = 0.0) -> None:
        self.process, self.times, self.off = PROCESS, times, off

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return x * float(alpha * SPREAD**2 / ((alpha * SPREAD) ** 2 + sigma**2))

    def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        s = self.times[self.times < t].max()
        (alpha, sigma), (alpha_s, sigma_s) = ((self.process.alpha(u), self.process.sigma(u)) for u in (t, s))
        if sigma_s == 0:
            return self.denoised(x, t), torch.zeros_like(x)
        before, now = ((a * SPREAD) ** 2 + b**2 for a, b in ((alpha_s, sigma_s), (alpha, sigma)))
        variance = before - (alpha / alpha_s * before) ** 2 / now
        v, known = step_variances(alpha, sigma, alpha_s, sigma_s)
        share = float((variance / known).log() / (v / known).log()) + self.off
        return self.denoised(x, t), torch.full_like(x, share)


N = 4000
CHANCE = 4 / math.sqrt(2 * 2 * N)
"""4 standard errors of a variance of 2 N normal numbers: a false alarm once in 15,000."""


def ending(make, steps: int, off: float = 0.0) -> float:
    """The variance where the last step but one ends, in that of the exact law there."""
    times = uniform(PROCESS, steps)
    end = times[-2]
    start = PROCESS.simple.sample(N, rng=0).double()
    x = last(make(Known(times, off))(start, times[:-1], rng=1)).x
    exact = float((PROCESS.alpha(end) * SPREAD) ** 2 + PROCESS.sigma(end) ** 2)
    return float(x.square().mean()) / exact


@pytest.mark.parametrize("steps", [3, 8, 50])
def test_few_steps_keep_the_variance_of_a_gaussian(steps: int) -> None:
    assert ending(LearnedAncestral, steps) == pytest.approx(1, abs=CHANCE)


def test_other_widths_do_not() -> None:
    """The planted faults: DDPM's own width (v~), and shares that are off."""
    assert abs(ending(Ancestral, 8) - 1) > 3 * CHANCE
    assert abs(ending(LearnedAncestral, 3, off=0.4) - 1) > 3 * CHANCE
    assert abs(ending(LearnedAncestral, 3, off=-0.4) - 1) > 3 * CHANCE


def test_with_the_share_0_it_is_ddpm() -> None:
    times = uniform(PROCESS, 7)

    class Narrow(Known):
        def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
            return self.denoised(x, t), torch.zeros_like(x)

    x = PROCESS.simple.sample(9, rng=0).double()
    one = list(LearnedAncestral(Narrow(times))(x, times, rng=3))
    other = list(Ancestral(Known(times))(x, times, rng=3))
    for a, b in zip(one, other, strict=True):
        assert a.t == b.t
        assert a.evaluations == b.evaluations
        assert torch.allclose(a.x, b.x, atol=1e-9)
    assert torch.equal(one[0].x, x)


def test_items_do_not_depend_on_the_batch() -> None:
    times = uniform(PROCESS, 5)
    x = PROCESS.simple.sample(100, rng=0).double()
    whole = last(LearnedAncestral(Known(times))(x, times, rng=5)).x
    assert torch.allclose(last(LearnedAncestral(Known(times))(x[:3], times, rng=5)).x, whole[:3], atol=1e-12)
    assert torch.allclose(last(LearnedAncestral(Known(times))(x[70:], times, rng=Rng(5).item(70))).x, whole[70:])


def test_who_has_learned_none_is_told() -> None:
    class Plain(Known):
        denoised_and_share = Denoiser.denoised_and_share

    times = uniform(PROCESS, 3)
    x = PROCESS.simple.sample(2, rng=0).double()
    with pytest.raises(BadInput, match=r"learned no variances.*--sampler ddpm.*--method iddpm") as caught:
        last(LearnedAncestral(Plain(times))(x, times, rng=0))
    assert "\n" not in str(caught.value)


def test_guidance_moves_the_mean_alone() -> None:
    times = uniform(PROCESS, 3)
    one, other = Known(times), Known(times, 0.2)
    x = PROCESS.simple.sample(4, rng=0).double()
    mean, share = GuidedDenoiser(one, other, 1.5).denoised_and_share(x, 1.0)
    assert torch.equal(share, one.denoised_and_share(x, 1.0)[1])
    assert torch.equal(mean, GuidedDenoiser(one, other, 1.5).denoised(x, 1.0))
