"""Every law of training times on every schedule: one contract. A new law joins by a line in LAWS."""

import math

import pytest
import torch

from driftback.processes import SCHEDULES, Diffusion, DiscreteChain, linear_betas
from driftback.recipes.methods import METHODS
from driftback.scores.bound_times import BoundTimes
from driftback.training.times import ChainTimes, LogNormalRatio, UniformLogRatio, UniformTimes

LAWS = {
    "uniform": UniformTimes(),
    "log-normal": LogNormalRatio(),
    "uniform in log ratio": UniformLogRatio(0.02, 9.0),
    "chain": ChainTimes(100),
    "a bound's": BoundTimes(0.02, 9.0, 0.2, 0.5),
    **{f"{name}'s": method.times(0.5, (1, 8, 8)) for name, method in METHODS.items()},
}
ALL = {**SCHEDULES, "ddpm": lambda: DiscreteChain(linear_betas())}


class Falling:
    """A planted fault: the quantiles the wrong way round."""

    def quantile(self, u, process):
        return UniformTimes().quantile(1 - u, process)


class Single:
    """A planted fault: float32 times, which merge near 0 and 1."""

    def quantile(self, u, process):
        return UniformTimes().quantile(u, process).float()


class FromZero:
    """A planted fault: t = 0, where there is no noise to predict."""

    def quantile(self, u, process):
        return u


def keeps_its_contract(law, process):
    u = torch.linspace(0, 1 - 1e-12, 1001, dtype=torch.float64)
    t = law.quantile(u, process)
    assert t.shape == u.shape
    assert t.dtype == torch.float64
    assert (t > 0).all()
    assert (t <= 1).all()
    assert (t.diff() >= 0).all(), "a quantile function rises"
    assert t[0] < t[500] < t[-1]
    # To the last bits but one: a single number and a row of them do not take the same path through torch's exp.
    assert torch.allclose(law.quantile(u[300:301], process), t[300:301], rtol=1e-14, atol=0)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("name", LAWS)
def test_a_law_keeps_its_contract(name, schedule):
    keeps_its_contract(LAWS[name], Diffusion(ALL[schedule](), (1, 8, 8)))


def test_a_bounds_times_have_its_bottom_and_count_as_the_integral_above():
    """A share of them is the bottom; of the others any function of the ratio has its integral as the mean."""
    process, law = Diffusion(SCHEDULES["edm"](), (1,)), BoundTimes(0.02, 9.0, 0.2, 0.5)
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    ratio = process.ratio(law.quantile(u, process))
    at = (ratio - 0.02).abs() < 1e-9
    assert float(at.double().mean()) == pytest.approx(0.2, abs=1e-3)
    counts = law.counts(ratio)
    assert float(counts[at].mean()) == pytest.approx(5.0)
    for power in (-1.0, 0.0, 1.0):
        integral = math.log(9.0 / 0.02) if power == 0 else (9.0**power - 0.02**power) / power
        assert float((counts * ratio**power)[~at].sum() / len(u)) == pytest.approx(integral, rel=1e-3)
    low, high = (float(((ratio > a) & (ratio < b)).double().mean()) for a, b in ((0.02, 0.1), (0.9, 4.5)))
    assert low > 4 * high, "equally far apart in log, and where terms are large there are more"


@pytest.mark.parametrize("faulty", [Falling, Single, FromZero])
def test_a_faulty_law_is_refused(faulty):
    with pytest.raises(AssertionError):
        keeps_its_contract(faulty(), Diffusion(SCHEDULES["vp"](), (1,)))


def test_a_chains_times_are_its_steps():
    """Each of k / T equally often, from 1 / T to 1."""
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    t, counts = ChainTimes(50).quantile(u, Diffusion(SCHEDULES["vp"](), (1,))).unique(return_counts=True)
    assert torch.allclose(t, torch.arange(1, 51, dtype=torch.float64) / 50)
    assert (counts == 20).all()


def test_a_law_uniform_in_the_logarithm_of_the_ratio():
    process = Diffusion(SCHEDULES["vp"](), (1,))
    t = UniformLogRatio(0.02, 9.0).quantile(torch.linspace(0, 1, 5, dtype=torch.float64), process)
    assert torch.allclose(process.ratio(t).log().diff(), torch.full((4,), math.log(450) / 4).double())
    assert float(process.ratio(t[0])) == pytest.approx(0.02)
