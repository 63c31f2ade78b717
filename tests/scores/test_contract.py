"""Every denoiser and every parametrisation: one contract each. A new one joins by a line in its dict."""

import math

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.operators import Mask
from driftback.networks.presets import NetworkSpec, build
from driftback.processes import VP, Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.fourier import Fourier
from driftback.scores.guided import AutoguidedDenoiser, Counted, GuidedDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import (
    Levels,
    predict_data,
    predict_edm,
    predict_flow,
    predict_noise,
    predict_velocity,
)
from driftback.scores.posterior import Posterior
from driftback.scores.recorded import RecordedDenoiser
from driftback.scores.smoothed import SmoothedDenoiser
from driftback.scores.tilted import Tilted
from driftback.shapes import per_item

PROCESS = Diffusion(VP(), (2,))
LABELS = torch.tensor([0, 1, 1])
MEANS = torch.tensor([[-1.5, 0.5], [1.0, -0.3], [0.2, 2.0]])


def exact() -> Denoiser:
    return ExactDenoiser(PROCESS, Mixture(torch.ones(3), MEANS, 0.1 * torch.eye(2).repeat(3, 1, 1)), LABELS)


def learned() -> Denoiser:
    network = build(NetworkSpec(kind="mlp", widths=(16,), depth=1), 2, 2, (2,), 2, seed=1).eval().requires_grad_(False)
    with torch.no_grad():  # a fresh network says 0, and nothing of its class
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 3)
    return LearnedDenoiser(PROCESS, network, predict_edm(1.0))


DENOISERS = {
    "exact": exact,
    "recorded": lambda: RecordedDenoiser(PROCESS, MEANS, LABELS),
    "learned": learned,
    "guided": lambda: GuidedDenoiser(exact().given(0), exact(), 1.5),
    "guided within": lambda: GuidedDenoiser(exact().given(0), exact(), 1.5, (0.2, 1.0)),
    "smoothed": lambda: SmoothedDenoiser(RecordedDenoiser(PROCESS, MEANS, LABELS), 0.3),
    "counted": lambda: Counted(exact()),
    "tilted": lambda: Tilted(exact(), lambda x: -(x**2).sum(1)),
    "after an observation": lambda: Posterior(
        exact(), Observation(Mask(torch.tensor([True, False])), torch.ones(1), 1.0, (2,))
    ),
    "autoguided": lambda: AutoguidedDenoiser(exact(), RecordedDenoiser(PROCESS, MEANS, LABELS), 0.5),
}


class Careless(Denoiser):
    """Planted faults: one time for the whole batch, float64 whatever came in, labels that change nothing, or those of
    the first items for any.
    """

    def __init__(self, fault: str) -> None:
        self.process, self.fault, self.true = PROCESS, fault, exact()

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        found = self.true.denoised(x, torch.as_tensor(t).mean() if self.fault == "one time" else t)
        return found.double() if self.fault == "type" else found

    def of(self, rows: Tensor) -> Denoiser:
        return self.true.of(torch.arange(len(rows)))

    def given(self, label: int | Tensor) -> Denoiser:
        other = Careless(self.fault)
        other.true = self.true if self.fault == "labels" else self.true.given(label)
        return other if self.fault in ("labels", "items") else other.true


def keeps_shape_and_type(denoiser: Denoiser) -> None:
    for dtype in (torch.float32, torch.float64) if not isinstance(denoiser, LearnedDenoiser) else (torch.float32,):
        x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
        for t in (0.4, torch.tensor(0.4, dtype=torch.float64), torch.full((6,), 0.4, dtype=torch.float64)):
            for found in (denoiser.denoised(x, t), denoiser.noise(x, t), denoiser.score(x, t), denoiser.velocity(x, t)):
                assert found.shape == x.shape
                assert found.dtype == dtype
                assert torch.isfinite(found).all()


def takes_a_time_per_item(denoiser: Denoiser) -> None:
    x, t = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(0.1, 1, 6).double()
    alone = torch.cat([denoiser.denoised(x[i : i + 1], t[i]) for i in range(6)])
    assert torch.allclose(denoiser.denoised(x, t), alone, atol=1e-5)


def says_one_thing_in_four_ways(denoiser: Denoiser) -> None:
    x, t = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(0.1, 1, 6).double()
    alpha, sigma = per_item(PROCESS.alpha(t), x), per_item(PROCESS.sigma(t), x)
    d, eps = denoiser.denoised(x, t), denoiser.noise(x, t)
    assert torch.allclose(alpha * d + sigma * eps, x, atol=1e-4)
    assert torch.allclose(denoiser.score(x, t), -eps / sigma, atol=1e-4)
    # The probability-flow ODE's drift, by another road: f x - g^2 score / 2.
    flow = PROCESS.drift(x, t) - per_item(PROCESS.diffusion(t) ** 2 / 2, x) * denoiser.score(x, t)
    assert torch.allclose(denoiser.velocity(x, t), flow, rtol=1e-3, atol=1e-3)


def takes_labels(denoiser: Denoiser) -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    zero, one = denoiser.given(0).denoised(x, 0.8), denoiser.given(torch.ones(6, dtype=torch.int64)).denoised(x, 0.8)
    assert not torch.allclose(zero, one, atol=1e-3)
    mixed = denoiser.given(torch.tensor([0, 1, 0, 1, 0, 1])).denoised(x, 0.8)
    assert torch.allclose(mixed[::2], zero[::2], atol=1e-5)
    assert torch.allclose(mixed[1::2], one[1::2], atol=1e-5)
    with pytest.raises(ValueError, match=r"7|2 classes"):
        denoiser.given(7)


def goes_on_with_some_items(denoiser: Denoiser) -> None:
    x, rows = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4, 5])
    for label in (1, torch.tensor([0, 1, 0, 0, 1, 0])):
        given = denoiser.given(label)
        assert torch.allclose(given.of(rows).denoised(x[rows], 0.8), given.denoised(x, 0.8)[rows], atol=1e-5)
    assert torch.allclose(denoiser.of(rows).denoised(x[rows], 0.8), denoiser.denoised(x, 0.8)[rows], atol=1e-5)


CONTRACT = (
    keeps_shape_and_type,
    takes_a_time_per_item,
    says_one_thing_in_four_ways,
    takes_labels,
    goes_on_with_some_items,
)


@pytest.mark.parametrize("clause", CONTRACT)
@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_keeps_its_contract(name, clause):
    clause(DENOISERS[name]())


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        ("one time", takes_a_time_per_item),
        ("type", keeps_shape_and_type),
        ("labels", takes_labels),
        ("items", goes_on_with_some_items),
    ],
)
def test_a_faulty_denoiser_is_refused(fault, clause):
    with pytest.raises(AssertionError):
        clause(Careless(fault))


def test_the_four_ways_are_final_and_a_wrong_one_is_refused(monkeypatch):
    right = Denoiser.score
    monkeypatch.setattr(Denoiser, "score", lambda self, x, t: -right(self, x, t))
    with pytest.raises(AssertionError):
        says_one_thing_in_four_ways(exact())


PARAMETRISATIONS = {
    "data": predict_data(0.7),
    "noise": predict_noise(0.7),
    "velocity": predict_velocity(0.7),
    "edm": predict_edm(0.7),
    "flow": predict_flow(0.7),
    "levels": Levels(-1.0, 0.5, 4, spread=0.7),
    "fourier": Fourier(predict_noise(0.7)),
}


def best(parametrisation, x0, x, alpha, sigma):
    """The output that says x_0: by inverting `denoised`, which is affine; for levels, certainty."""
    if isinstance(parametrisation, Levels):
        sure = torch.nn.functional.one_hot(parametrisation.index(x0), parametrisation.count).movedim(-1, 2)
        return 1e4 * sure.flatten(1, 2).to(x.dtype)
    zero = parametrisation.denoised(torch.zeros_like(x), x, alpha, sigma)
    return (x0 - zero) / (parametrisation.denoised(torch.ones_like(x), x, alpha, sigma) - zero)


def keeps_the_contract(parametrisation, dtype):
    generator = torch.Generator().manual_seed(0)
    x0 = (-1 + 0.5 * torch.randint(0, 4, (8, 2, 3), generator=generator)).to(dtype)
    for t in (torch.linspace(0.05, 0.95, 8, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)):
        alpha, sigma = (torch.cos(math.pi / 2 * t), torch.sin(math.pi / 2 * t))
        noise = torch.randn(x0.shape, generator=generator).to(dtype)
        x = per_item(alpha, x0) * x0 + per_item(sigma, x0) * noise
        into, out = parametrisation.channels(2)
        shown = parametrisation.shown(x, alpha, sigma)
        assert shown.shape == (8, into, 3)
        assert shown.dtype == dtype
        assert shown.abs().max() < 20, "whatever the noise, a network is shown numbers of its size"
        output = best(parametrisation, x0, x, alpha, sigma)
        assert output.shape == (8, out, 3)
        assert torch.allclose(parametrisation.denoised(output, x, alpha, sigma), x0, atol=1e-4)
        loss = parametrisation.loss(output, x0, x, alpha, sigma)
        assert loss.shape == (8,)
        assert float(loss.abs().max()) < 1e-6
        worse = parametrisation.loss(output + 0.5 * torch.randn(output.shape, generator=generator), x0, x, alpha, sigma)
        assert (worse >= loss).all()
        other = parametrisation.loss(output.roll(1, 0), x0, x, alpha, sigma)
        assert float(other.mean()) > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_a_parametrisation_keeps_its_contract(name, dtype):
    keeps_the_contract(PARAMETRISATIONS[name], dtype)


class Unscaled(Levels):
    """A planted fault: the noisy values are shown as they are."""

    def shown(self, x, alpha, sigma):
        return 100 * super().shown(x, alpha, sigma)


class Summed(Levels):
    """A planted fault: the loss of the batch, not of each item."""

    def loss(self, output, x0, x, alpha, sigma):
        return super().loss(output, x0, x, alpha, sigma).sum()


@pytest.mark.parametrize("faulty", [Unscaled, Summed])
def test_a_faulty_parametrisation_is_refused(faulty):
    with pytest.raises(AssertionError):
        keeps_the_contract(faulty(-1.0, 0.5, 4, spread=0.7), torch.float32)
