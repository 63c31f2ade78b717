"""Weights: log Z is the log of a mean with a delta-method error, copies are fair, and tails that rule are told."""

import math

import pytest
import torch

from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import ladder, weights
from driftback.samplers.markov.metric import Dense
from driftback.samplers.markov.resampling import rounding, systematic
from driftback.samplers.markov.state import State
from driftback.samplers.markov.swarm import Fisher, Spread

NAN = math.nan


def pareto(k, n, seed=0):
    """log-weights whose law has the tail index k."""
    return -k * Rng(seed).uniform((n,), dtype=torch.float64).log()


def test_normaliser_in_closed_form():
    w = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()
    told = weights.normaliser(w.log() + 700)
    assert told.log_z == pytest.approx(math.log(3) + 700, abs=1e-12)
    assert told.error == pytest.approx(float(w.std()) / math.sqrt(4) / 3, rel=1e-12)
    assert told.size == pytest.approx(144 / 50)
    assert math.isnan(told.k_hat)
    assert not told.trusted


@pytest.mark.parametrize("k", [0.2, 0.5, 1.2])
def test_k_hat_finds_the_tail(k):
    """Over 20 sets of 4,000 weights the mean is within .05 of the prior's pull towards .5 (10 of 199 tail weights)."""
    got = sum(weights.k_hat(pareto(k, 4000, seed)) for seed in range(20)) / 20
    assert got == pytest.approx((k * 189 + 0.5 * 10) / 199, abs=0.05)


def test_verdicts():
    tame, wild = weights.normaliser(pareto(0.2, 2000)), weights.normaliser(pareto(1.5, 2000))
    assert tame.trusted
    assert "+-" in tame.verdict
    assert not wild.trusted
    assert "not to be trusted" in wild.verdict
    assert weights.normaliser(torch.zeros(100)).k_hat == -math.inf
    assert weights.normaliser(torch.tensor([0.0] * 3 + [-math.inf] * 97)).k_hat == math.inf
    assert weights.Normaliser(0.0, 0.1, 5, 100, 0.55).trusted is False, "the limit of 100 weights is 1/2"


@pytest.mark.parametrize(
    ("bad", "words"), [([0.0, NAN], "particle 1 is nan"), ([math.inf, 0], "particle 0"), ([-math.inf] * 2, "weight 0")]
)
def test_degenerate_weights_are_one_line(bad, words):
    with pytest.raises(BadInput, match=words) as error:
        weights.normaliser(torch.tensor(bad))
    assert "\n" not in str(error.value)


def counts(shares, n, seed, resample=systematic):
    return torch.bincount(resample(shares, n, rng=seed), minlength=len(shares)).double()


def test_systematic_copies_are_floor_or_ceiling_and_fair():
    """Means over 2,000 draws within 4.5 SE of n W, 8 particles: a false alarm once in 18,000. Without luck: refused."""
    shares = torch.tensor([0.0, 0.31, 0.07, 0.22, 0.0, 0.25, 0.149, 0.001]).double()

    def fair(resample):
        all_counts = torch.stack([counts(shares, 10, seed, resample) for seed in range(2000)])
        error = (all_counts.mean(0) - 10 * shares).abs()
        return bool((error <= 4.5 * all_counts.std(0) / math.sqrt(2000) + 1e-12).all()), all_counts

    good, seen = fair(systematic)
    assert good
    assert bool(((seen - 10 * shares).abs() < 1).all())
    assert float(seen.var(0).sum()) / 100 == pytest.approx(rounding(shares, 10), rel=0.1)
    assert not fair(lambda s, n, rng: torch.searchsorted(s.cumsum(0), (torch.arange(n) + 0.5).double() / n))[0]


def test_the_last_copy_has_weight():
    shares = torch.tensor([0.5, 0.5, 0.0]).double()
    assert int(systematic(shares, 1000, rng=0).max()) == 1


def test_rungs_keep_their_share():
    """For u ~ N(0, s^2) a step of h keeps exp(-h^2 s^2): the length is h s."""
    gain, flat = 3 * Rng(0).normal((200_000,), dtype=torch.float64), torch.zeros(200_000).double()
    assert ladder.length(ladder.kept(0.1, gain, flat)) == pytest.approx(0.3, rel=0.01)
    rung = ladder.next_rung(0.2, gain, flat, 0.9)
    assert ladder.kept(rung - 0.2, gain, flat) == pytest.approx(0.9)
    assert ladder.next_rung(0.99, gain, flat, 0.9) == 1.0
    assert ladder.kept(0.1, torch.full((4,), -torch.inf).double(), torch.zeros(4).double()) == 0.0


def test_equal_lengths():
    assert torch.allclose(
        ladder.equal_lengths([0, 0.2, 1], [1.0, 3.0], 4).float(), torch.tensor([0, 0.2, 7 / 15, 11 / 15, 1])
    )


def test_no_rungs_lie_within_a_wall():
    """A step without a rise, in which the particles outside of the support die, is not divided."""
    betas = ladder.equal_lengths([0, 0, 0.2, 1], [5.0, 1.0, 3.0], 4)
    assert torch.allclose(betas, torch.tensor([0, 0.2, 7 / 15, 11 / 15, 1]).double())


@pytest.mark.parametrize("dense", [False, True])
def test_shapes_of_a_normal_law(dense):
    """Covariance and inverse Fisher information of N(0, S) are S; of diagonals, Fisher's is the inverse's inverse."""
    covariance = torch.tensor([[4.0, 1.0], [1.0, 1.0]]).double()
    x = Rng(0).normal((100_000, 2), dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    state = State(x, x[:, 0], -x @ covariance.inverse())
    shares = torch.full((100_000,), 1e-5).double()
    for shaping, diagonal in ((Spread(dense), covariance.diag()), (Fisher(dense), 1 / covariance.inverse().diag())):
        metric = shaping(state, shares)
        if isinstance(metric, Dense):
            assert torch.allclose(metric.factor @ metric.factor.T, covariance, rtol=0.03, atol=0.03)
        else:
            assert torch.allclose(metric.scale.square(), diagonal, rtol=0.03)
    with pytest.raises(BadInput, match="no gradients"):
        Fisher()(State(x, x[:, 0]), shares)
