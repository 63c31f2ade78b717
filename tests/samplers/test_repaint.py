"""RePaint and DPS against Gaussian posteriors that are known: what they get right, and by how much they are off."""

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.observed import observed
from driftback.distributions.operators import Mask
from driftback.errors import BadInput
from driftback.processes import EDM, VP, Diffusion
from driftback.samplers.dps import DPS
from driftback.samplers.frame import last
from driftback.samplers.grids import log_snr, uniform
from driftback.samplers.repaint import Repaint
from driftback.scores.exact import ExactDenoiser

PRIOR = Mixture(torch.ones(1), torch.tensor([[0.5, -0.5]]), torch.tensor([[[1.0, 0.8], [0.8, 1.0]]]))
MASK = Mask(torch.tensor([True, False]))
Y = torch.tensor([1.7], dtype=torch.float64)
N = 4000


def drawn(repeats: int, jump: int = 5, steps: int = 100) -> Tensor:
    process = Diffusion(EDM(), (2,), 1.0)
    times = log_snr(process, steps, low=0.01, high=40.0)
    x = process.simple_at(float(times[0])).sample(N, rng=0).double()
    return last(Repaint(ExactDenoiser(process, PRIOR), MASK, Y, repeats, jump)(x, times, rng=1)).x


def test_repeats_bring_the_rest_into_line_with_what_is_seen() -> None:
    """x_2 given x_1 = 1.7 is N(.46, .36). Measured: mean .22 and variance .53 with 1 descent; .44 and .38 with 10."""
    mean, variance = -0.5 + 0.8 * 1.2, 1 - 0.64
    often, once = drawn(10), drawn(1)
    assert torch.equal(often[:, 0], Y.expand(N)), "what is seen is there to the last bit"
    assert float(often[:, 1].mean()) == pytest.approx(mean, abs=0.06)
    assert float(often[:, 1].var()) == pytest.approx(variance, abs=0.06)
    assert abs(float(once[:, 1].mean()) - mean) > 0.1, "the planted fault: without repeats it does not agree"


def test_few_steps_are_repeated_too() -> None:
    """The mean of x_2 is .46; of ten steps that were repeated as one stretch it was -.1."""
    assert float(drawn(10, jump=10, steps=10)[:, 1].mean()) == pytest.approx(0.46, abs=0.2)


def test_what_is_seen_has_the_noise_of_its_level() -> None:
    process = Diffusion(EDM(), (2,), 1.0)
    times = log_snr(process, 12, low=0.1, high=20.0)
    x = process.simple_at(float(times[0])).sample(N, rng=0).double()
    for frame in list(Repaint(ExactDenoiser(process, PRIOR), MASK, Y, 1, 5)(x, times, rng=1))[1:-1]:
        off = (frame.x[:, 0] - Y) / float(process.sigma(frame.t))
        # 4 standard errors of a mean and of a variance of 4,000 normal numbers.
        assert abs(float(off.mean())) < 0.065
        assert abs(float(off.var()) - 1) < 0.09


def test_evaluations_are_counted_and_frames_fall() -> None:
    process = Diffusion(EDM(), (2,), 1.0)
    times = log_snr(process, 12, low=0.1, high=20.0)
    x = process.simple_at(float(times[0])).sample(5, rng=0)
    frames = list(Repaint(ExactDenoiser(process, PRIOR), MASK, Y, 3, 5)(x, times, rng=1))
    assert [frame.t for frame in frames] == times.tolist()
    assert [frame.evaluations for frame in frames] == [0, *range(3, 34, 3), 34]
    assert all(frame.x.dtype == torch.float32 for frame in frames)
    with pytest.raises(BadInput, match="at least 1"):
        Repaint(ExactDenoiser(process, PRIOR), MASK, Y, 0)


def test_dps_is_pulled_towards_what_is_seen_and_is_no_posterior() -> None:
    """Its step goes with the misfit's norm and not with the noise: the mean is near, the variance is not its own."""
    process = Diffusion(VP(), (2,), 1.0)
    seen = Observation(MASK, Y, 0.5, (2,))
    truth = observed(PRIOR, torch.tensor([[1.0, 0.0]]), Y, 0.5)
    times = uniform(process, 300)
    x = process.simple.sample(N, rng=0).double()
    plain = ExactDenoiser(process, PRIOR)
    means = {scale: last(DPS(plain, seen, scale)(x, times, rng=1)).x.mean(0) for scale in (0.01, 1.0)}
    assert float(means[1.0][0]) > float(means[0.01][0]) + 0.3
    assert float((means[1.0] - truth.means[0]).norm()) < 0.6
    with pytest.raises(BadInput, match="positive"):
        DPS(plain, seen, 0.0)


def test_dps_without_a_pull_is_ancestral() -> None:
    from driftback.samplers.ancestral import Ancestral

    process = Diffusion(EDM(), (2,), 1.0)
    times = log_snr(process, 20, low=0.1, high=20.0)
    x = process.simple_at(float(times[0])).sample(50, rng=0).double()
    seen, plain = Observation(MASK, Y, 0.5, (2,)), ExactDenoiser(process, PRIOR)
    found = last(DPS(plain, seen, 1e-12)(x, times, rng=1)).x
    assert torch.allclose(found, last(Ancestral(plain)(x, times, rng=1)).x, atol=1e-6)
