"""VDM's bound with the exact denoiser of data on levels is their entropy, and with any other it is below."""

import math

import pytest
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation import continuous_bound as module
from driftback.evaluation.continuous_bound import continuous_bound
from driftback.processes import VP, Diffusion, LogSNR
from driftback.scores.denoiser import Denoiser
from driftback.scores.recorded import RecordedDenoiser

LEVELS = torch.tensor([-1.0, -0.25, 0.5, 1.25], dtype=torch.float64)
ATOMS = torch.cartesian_prod(LEVELS, LEVELS)
SPREAD = float(ATOMS.std(correction=0))
PROCESS = Diffusion(LogSNR(), (2,), SPREAD)
REPEATS, DRAWS = 400, 24


class Pulled(Denoiser):
    """A planted fault: a guess of x_0 that is 5 % too near to the origin."""

    def __init__(self, true: Denoiser) -> None:
        self.process, self.true = true.process, true

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        return 0.95 * self.true.denoised(x, t)


def exact(atoms: Tensor = ATOMS) -> Denoiser:
    return RecordedDenoiser(PROCESS, atoms)


def found(denoiser: Denoiser, atoms: Tensor = ATOMS) -> tuple[float, float]:
    """The mean bound over atoms that are equally likely, and its standard error from the draws."""
    one = continuous_bound(denoiser, atoms.repeat(REPEATS, 1), LEVELS, spread=SPREAD, draws=DRAWS, rng=0)
    return one.mean, float(one.nats.std() / math.sqrt(len(one.nats)))


def terminal() -> float:
    """KL(q(z_1) || p(z_1)) of the exact law at the end, by quadrature: each coordinate is a mixture of four normals."""
    top = float(PROCESS.ratio(1.0))
    y = torch.linspace(-12 * top, 12 * top, 20001, dtype=torch.float64)
    q = torch.exp(-((y[:, None] - LEVELS) ** 2) / (2 * top**2)).mean(1) / math.sqrt(2 * math.pi) / top
    variance = SPREAD**2 + top**2
    log_p = -(y**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2
    return 2 * float(torch.trapezoid(q * (q.clamp(min=1e-300).log() - log_p), y))


def test_the_exact_denoiser_reaches_the_entropy() -> None:
    """The bound is -log 16 - KL of the end; 6,400 items of 24 draws: 4 standard errors, once in 15,000."""
    mean, error = found(exact())
    assert error < 0.03
    assert abs(mean + math.log(16) + terminal()) < 4 * error


def test_other_denoisers_are_below() -> None:
    mean, error = found(exact())
    for wrong in (Pulled(exact()), exact(ATOMS[:14])):
        assert found(wrong)[0] < mean - 8 * error


def test_the_decoder_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that begins with much noise: without the decoder's share the bound would be above the truth."""
    noisy = RecordedDenoiser(Diffusion(LogSNR(-1.0, 5.0), (2,), SPREAD), ATOMS)
    mean, error = found(noisy)
    # The decoder knows each coordinate alone, and here that is all there is to know.
    assert abs(mean + math.log(16) + terminal()) < 4 * error
    monkeypatch.setattr(module, "_decoder", lambda denoiser, x0, *rest: torch.zeros(len(x0)))
    assert found(noisy)[0] > mean + 8 * error


def test_the_error_is_that_of_the_draws() -> None:
    one = continuous_bound(exact(), ATOMS[:1].expand(400, 2), LEVELS, spread=SPREAD, draws=DRAWS, rng=1)
    assert float(one.error.mean()) == pytest.approx(float(one.nats.std()), rel=0.35)
    assert one.evaluations == DRAWS


def test_the_decoders_draws_are_in_the_error() -> None:
    """A process that begins with much noise, where what is read off errs by more than the integral."""
    noisy = RecordedDenoiser(Diffusion(LogSNR(-1.0, 5.0), (2,), SPREAD), ATOMS)
    one = continuous_bound(noisy, ATOMS[:1].expand(1000, 2), LEVELS, spread=SPREAD, draws=64, rng=1)
    assert float(one.error.square().mean().sqrt()) == pytest.approx(float(one.nats.std()), rel=0.15)


def test_what_has_no_bound_is_told() -> None:
    with pytest.raises(BadInput, match="at least 2"):
        continuous_bound(exact(), ATOMS, LEVELS, draws=1)
    with pytest.raises(BadInput, match="--method vdm"):
        continuous_bound(RecordedDenoiser(Diffusion(VP(), (2,)), ATOMS), ATOMS, LEVELS)
