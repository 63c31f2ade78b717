"""Every SDE and every process: one contract each. A new one joins by a line in its dict."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.processes import SCHEDULES, SDE, Diffusion, DiscreteChain, Process, Reverse, linear_betas
from driftback.randomness import Rng
from driftback.scores.exact import ExactDenoiser
from driftback.shapes import per_item

ALL = {**SCHEDULES, "ddpm": lambda: DiscreteChain(linear_betas())}
PROCESSES = {
    **{name: lambda make=make: Diffusion(make(), (2,)) for name, make in ALL.items()},
}
TARGET = Mixture(torch.tensor([0.3, 0.7]), torch.tensor([[-1.5, 0.5], [1.0, -0.3]]), 0.2 * torch.eye(2).repeat(2, 1, 1))


def reverse(process, noise):
    return Reverse(process, ExactDenoiser(process, TARGET).score, noise)


SDES = {
    **PROCESSES,
    **{f"{name}, back": lambda make=make: reverse(make(), 1.0) for name, make in PROCESSES.items()},
    **{f"{name}, flow": lambda make=make: reverse(make(), 0.0) for name, make in PROCESSES.items()},
}


def is_an_sde(sde):
    """Shapes and types; a time per item; and the Fokker-Planck equation's first moment at the exact marginals."""
    assert isinstance(sde, SDE)
    for dtype in (torch.float32, torch.float64):
        x, t = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).to(dtype), torch.linspace(0.1, 0.9, 6)
        t = t.double()
        drift, diffusion = sde.drift(x, t), sde.diffusion(t)
        assert drift.shape == x.shape
        assert drift.dtype == dtype
        assert diffusion.shape == (6,)
        assert diffusion.dtype == torch.float64
        assert (diffusion >= 0).all()
        assert torch.allclose(sde.drift(x[2:3], t[2]), drift[2:3], rtol=1e-4, atol=1e-4)
        assert torch.allclose(sde.diffusion(t[2]), diffusion[2])


def moves_the_marginals(sde, process, sign):
    """d/dt E|x|^2 = 2 E<x, drift> + sign d g^2, over 10,000 exact draws: forward in time with +, its reverse with -.

    The slope of alpha^2 E|x_0|^2 + d sigma^2 is exact; the average leaves 5 standard errors once in 2 million.
    """
    for k, t in enumerate((0.3, 0.7)):
        time = torch.tensor(t, dtype=torch.float64)
        x = TARGET.noised(float(process.alpha(t)), float(process.sigma(t))).sample(10_000, rng=Rng(1).child(k))
        terms = 2 * (x * sde.drift(x, time)).sum(1) + sign * 2 * sde.diffusion(time) ** 2
        square = (
            TARGET.weights @ ((TARGET.means**2).sum(1) + TARGET.covariances.diagonal(dim1=1, dim2=2).sum(1))
        ).item()
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        slopes = [float(slope) for slope in process.slopes(t)]
        slope = 2 * alpha * slopes[0] * square + 4 * sigma * slopes[1]
        assert abs(float(terms.mean()) - slope) < 5 * float(terms.std()) / 100 + 1e-9 * abs(slope)


@pytest.mark.parametrize("name", SDES)
def test_an_sde_keeps_its_contract(name):
    is_an_sde(SDES[name]())


@pytest.mark.parametrize("name", PROCESSES)
def test_an_sde_moves_the_marginals_as_they_move(name):
    process = PROCESSES[name]()
    moves_the_marginals(process, process, 1)
    for noise in (0.0, 0.5, 1.0):
        moves_the_marginals(reverse(process, noise), process, -1)


@dataclass(frozen=True)
class Faulty:
    """Planted faults: g for g^2 in the drift of the reverse, the type of the points lost, or one time for all."""

    process: Diffusion
    fault: str

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        right = reverse(self.process, 1.0)
        if self.fault == "g":
            g = self.process.diffusion(t)
            return self.process.drift(x, t) - per_item(g, x) * right.score(x, t)
        return right.drift(x, t).double() if self.fault == "type" else right.drift(x, t.mean())

    def diffusion(self, t: Tensor) -> Tensor:
        return self.process.diffusion(t)


def test_a_faulty_sde_is_refused():
    process = PROCESSES["vp"]()
    for fault in ("type", "one time"):
        with pytest.raises(AssertionError):
            is_an_sde(Faulty(process, fault))
    with pytest.raises(AssertionError):
        moves_the_marginals(Faulty(process, "g"), process, -1)
    with pytest.raises(AssertionError):
        moves_the_marginals(process, process, -1)


def is_a_process(process):
    """Shapes, types and keys; data at t = 0, the simple law at t = 1; and a bridge that leads to the forward law."""
    assert isinstance(process, Process)
    n = 4000
    x0 = TARGET.sample(n, rng=0)
    for dtype in (torch.float32, torch.float64):
        for t, s in ((0.7, 0.3), (torch.linspace(0.5, 1, 5).double(), torch.linspace(0, 0.4, 5).double())):
            some = x0[:5].to(dtype)
            for moved in (process.forward(some, t, rng=0), process.bridge(some, some, t, s, rng=0)):
                assert moved.shape == some.shape
                assert moved.dtype == dtype
                assert torch.isfinite(moved).all()
    whole = process.forward(x0, 0.5, rng=7)
    assert torch.equal(process.forward(x0[:3], 0.5, rng=7), whole[:3])
    assert torch.equal(process.forward(x0[4:9], 0.5, rng=Rng(7).item(4)), whole[4:9])
    assert not torch.equal(process.forward(x0, 0.5, rng=8), whole)
    assert torch.allclose(process.forward(x0, 0.0, rng=0), x0, atol=0.1)
    end, simple = process.forward(x0, 1.0, rng=1), process.simple.sample(n, rng=2).double()
    assert torch.allclose(end.std(0), simple.std(0), rtol=0.1)
    assert process.simple.event_shape == (2,)
    # The relative standard error of a deviation of 4,000 is .011, that of two's difference .016; 6 of them.
    x_t = process.forward(x0, 0.7, rng=3)
    straight, around = process.forward(x0, 0.3, rng=4), process.bridge(x0, x_t, 0.7, 0.3, rng=5)
    assert torch.allclose(straight.std(0), around.std(0), rtol=0.1)
    # What the noise adds: x_s - x_0's share, whose deviation a wrong bridge changes.
    left = [(x - x0 * (x * x0).sum() / (x0 * x0).sum()).std() for x in (straight, around)]
    assert torch.allclose(left[0], left[1], rtol=0.06)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_keeps_its_contract(name):
    is_a_process(PROCESSES[name]())


class Rootless(Diffusion):
    """A planted fault: the variance where the bridge's deviation belongs."""

    def bridge_moments(self, x0, x_t, t, s):
        mean, deviation = super().bridge_moments(x0, x_t, t, s)
        return mean, deviation**2


class Unkeyed(Diffusion):
    """A planted fault: noise that belongs to the batch."""

    def forward(self, x0, t, *, rng=None):
        return super().forward(x0, t, rng=Rng(0).child(len(x0)))


@pytest.mark.parametrize("faulty", [Rootless, Unkeyed])
def test_a_faulty_process_is_refused(faulty):
    with pytest.raises(AssertionError):
        is_a_process(faulty(SCHEDULES["vp"](), (2,)))
