"""Refined draws: weights that are exact, a verdict on the source, and points that end with the target's law."""

import math

import pytest
import torch
from scipy import stats

from driftback.distributions import IsotropicGaussian
from driftback.errors import BadInput
from driftback.samplers.frame import last
from driftback.samplers.markov import weights
from driftback.samplers.markov.refine import Refined


class Bell:
    """3 N(.5, .8^2) in two dimensions."""

    event_shape = (2,)

    def log_prob(self, x):
        return math.log(3) - ((x - 0.5) / 0.8).square().sum(1) / 2 - math.log(2 * math.pi * 0.64)


def source(deviation):
    return IsotropicGaussian((2,), deviation, dtype=torch.float64)


def p_value(x):
    return stats.kstest(x[:, 0].numpy(), stats.norm(0.5, 0.8).cdf).pvalue


def test_weights_and_law():
    frames = list(Refined(source(1.0), Bell(), moves=10)(2000, rng=0))
    first, copies, end = frames[0], frames[1], frames[-1]
    assert torch.allclose(first.log_weights, Bell().log_prob(first.x) - source(1.0).log_prob(first.x))
    told = weights.normaliser(first.log_weights)
    assert told.trusted
    assert abs(told.log_z - math.log(3)) < 4 * told.error, "a false alarm once in 16,000"
    assert torch.equal(copies.x, first.x[copies.families])
    assert torch.equal(end.families, copies.families)
    assert weights.normaliser(copies.log_weights).log_z == pytest.approx(told.log_z)
    assert p_value(first.x) < 1e-3 < p_value(end.x), "a false alarm once in 1,000"
    assert len(end.x.unique(dim=0)) > len(copies.x.unique(dim=0)), "moves part the copies"
    assert end.evaluations == 11


def test_a_narrow_source_is_told():
    told = weights.normaliser(last(Refined(source(0.3), Bell(), moves=0)(2000, rng=0)).log_weights)
    assert told.k_hat == -math.inf
    first = next(iter(Refined(source(0.3), Bell())(2000, rng=0)))
    assert not weights.normaliser(first.log_weights).trusted


def test_nothing_in_common_is_one_line():
    class Away(Bell):
        def log_prob(self, x):
            return torch.where(x[:, 0] > 100, super().log_prob(x), -torch.inf)

    with pytest.raises(BadInput, match="weight 0"):
        list(Refined(source(1.0), Away())(50, rng=0))
    with pytest.raises(BadInput, match="moves"):
        Refined(source(1.0), Bell(), moves=-1)
