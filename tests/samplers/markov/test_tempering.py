"""Trades on the ladder balance, rungs keep their laws, log Z is met within its error, and the ladder spaces itself."""

from dataclasses import replace

import pytest
import torch

from driftback.distributions import Gaussian, IsotropicGaussian, Mixture
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import (
    NUTS,
    Energy,
    Flips,
    Gibbs,
    Hamiltonian,
    InformedFlips,
    Langevin,
    Metropolis,
    Noise,
    RandomWalk,
    Tempering,
    Warmup,
    log_z,
)
from driftback.samplers.markov.tempering_warmup import spaced

REFERENCE = IsotropicGaussian((2,), 3.0, dtype=torch.float64)
TARGET = Gaussian(torch.tensor([1.0, -1.0]).double(), torch.tensor([[0.5, 0.2], [0.2, 0.8]]).double())
BETAS = torch.tensor([0.0, 0.1, 0.4, 1.0]).double()
STEP = torch.tensor(0.6).double()
MAKES = {
    "walk": lambda energy: Metropolis(energy, RandomWalk(STEP)),
    "langevin": lambda energy: Metropolis(energy, Langevin(STEP)),
    "hamiltonian": lambda energy: Hamiltonian(energy, STEP),
}


class Shifted:
    """The target times e^5: log Z = 5. With no score of its own where it is `deaf`."""

    event_shape = (2,)

    def __init__(self, deaf=False):
        if not deaf:
            self.score = TARGET.score

    def log_prob(self, x):
        return TARGET.log_prob(x) + 5

    def sample(self, n, *, rng=None):
        return TARGET.sample(n, rng=rng)


def rung(beta):
    """A rung's law: the product of powers of Gaussians."""
    precision = beta * torch.linalg.inv(TARGET.covariance) + (1 - beta) * torch.eye(2).double() / 9
    covariance = torch.linalg.inv(precision)
    return Gaussian(
        covariance @ torch.linalg.solve(TARGET.covariance, beta * TARGET.mean), (covariance + covariance.T) / 2
    )


class Settled(Tempering):
    """A ladder that begins with exact draws on all its rungs."""

    def begin(self, x):
        state = super().begin(x)
        for r in range(len(self.betas)):
            state = placed(self, state, r, rung(float(self.betas[r])).sample(len(x), rng=Rng(9).child("rung", r)))
        return state


def placed(tempering, state, r, points):
    """The ladders with rung r at `points`."""
    one = tempering._first(points, sloped=state.rungs.ratio_slope is not None)
    parts = {}
    for name, value in vars(state.rungs).items():
        if value is None:
            continue
        value = value.clone()
        if name != "hot":
            value[:, r] = getattr(one, name)[:, 0]
        parts[name] = value
    return tempering._cold(replace(state.rungs, **parts))


def gap(told, sign=1.0):
    """The largest gap in the balance of the product law under a trade, pair by pair, in logs."""
    tempering = Tempering(Energy(TARGET), REFERENCE, MAKES["walk"], BETAS)
    state = tempering.begin(TARGET.sample(6, rng=0))
    for r, points in enumerate(REFERENCE.sample(24, rng=1).split(6)):
        state = placed(tempering, state, r, points / (1 + r))
    worst = 0.0
    for k in (0, 1):
        before = state.rungs
        after, forth = tempering.traded(before, told(6, {"swap": torch.zeros(6, 3).double()}, k=k))
        _, back = tempering.traded(after, told(6, {"swap": torch.ones(6, 3).double()}, k=k))
        asked = ~forth[0].isnan()
        assert asked.tolist() == [pair % 2 == k for pair in range(3)]

        def log_law(rungs):
            parts = torch.stack([rung_log_prob(float(b), rungs.x[:, r]) for r, b in enumerate(BETAS)], 1)
            return parts[:, :-1] + parts[:, 1:]

        # A number of 0 lets all that are asked trade; each pair is then at the other's place.
        for pair in asked.nonzero()[:, 0].tolist():
            assert torch.equal(after.x[:, pair], before.x[:, pair + 1])
        flux = log_law(before) + sign * forth.log() - log_law(after) - sign * back.log()
        worst = max(worst, float(flux[:, asked].abs().max()))
    return worst


def rung_log_prob(beta, x):
    return (1 - beta) * REFERENCE.log_prob(x) + beta * TARGET.log_prob(x)


def test_trades_balance(told):
    """Pointwise to 1e-10; with the sign of the exponent turned they would not."""
    assert gap(told) < 1e-10
    assert gap(told, sign=-1.0) > 0.1


@pytest.mark.parametrize("name", MAKES)
def test_exact_draws_stay_exact(keeps, name):
    """The cold rungs of exact ladders, a false alarm once in 1,000."""
    assert keeps(Settled(Energy(Shifted()), REFERENCE, MAKES[name], BETAS), Shifted(), 4)


class Backwards(Settled):
    """A planted fault: trades with the sign turned."""

    def traded(self, rungs, noise):
        turned, chance = super().traded(replace(rungs, ratio=-rungs.ratio), noise)
        return replace(turned, ratio=-turned.ratio), chance


def test_the_wrong_sign_is_refused(keeps):
    assert not keeps(Backwards(Energy(Shifted()), REFERENCE, MAKES["walk"], BETAS), Shifted(), 4)


@pytest.mark.parametrize("name", MAKES)
def test_what_rungs_know_is_where_they_are(name):
    """After ten moves all log-densities, ratios and gradients are those of the points, to 1e-9."""
    tempering = Tempering(Energy(Shifted()), REFERENCE, MAKES[name], BETAS)
    state, noise = tempering.begin(TARGET.sample(20, rng=0)), Noise(Rng(1), 20)
    for k in range(10):
        state, move = tempering(state, noise.at(k))
    rungs, flat = state.rungs, state.rungs.x.flatten(0, 1)
    reference, target = REFERENCE.log_prob(flat), Shifted().log_prob(flat)
    assert torch.allclose(rungs.reference.flatten(), reference, atol=1e-9)
    assert torch.allclose(rungs.ratio.flatten(), target - reference, atol=1e-9)
    assert torch.equal(state.x, rungs.x[:, -1])
    assert torch.allclose(state.log_prob, Shifted().log_prob(state.x), atol=1e-9)
    assert (rungs.ratio_slope is None) == (name == "walk")
    if rungs.ratio_slope is not None:
        assert torch.allclose(rungs.reference_slope.flatten(0, 1), REFERENCE.score(flat), atol=1e-9)
        assert torch.allclose(rungs.ratio_slope.flatten(0, 1), TARGET.score(flat) - REFERENCE.score(flat), atol=1e-9)
    assert state.rows(torch.tensor([3, 4])).x.shape == (2, 2)
    assert move.accepted.shape == (20,)
    assert move.chances.shape == (20, 3)


def test_gradients_come_by_derivation_too():
    """A target without a score has the same ladder."""
    ends = []
    for deaf in (False, True):
        tempering = Tempering(Energy(Shifted(deaf)), REFERENCE, MAKES["hamiltonian"], BETAS)
        state, noise = tempering.begin(TARGET.sample(5, rng=0)), Noise(Rng(1), 5)
        for k in range(5):
            state, _ = tempering(state, noise.at(k))
        ends.append(state.rungs.x)
    assert torch.allclose(*ends, atol=1e-9)


def test_evaluations_are_counted():
    """Each move: one proposal for each rung above the reference, and one draw at it."""
    energy = Energy(Shifted())
    tempering = Tempering(energy, REFERENCE, MAKES["langevin"], BETAS)
    state = tempering.begin(TARGET.sample(5, rng=0))
    before = energy.densities, energy.gradients
    tempering(state, Noise(Rng(0), 5))
    assert (energy.densities - before[0], energy.gradients - before[1]) == (20, 20)


def test_two_modes_far_apart_are_both_found():
    """Shares .3 and .7 of modes 12 deviations apart, from one of them: ladders tell them, cold chains never leave.

    Within .06: 200 ladders, 400 moves with a round trip each ten or so, whose standard error is about .01.
    """
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0]]).double()
    target = Mixture(torch.tensor([0.3, 0.7]), means, 0.25 * torch.eye(2).expand(2, 2, 2))
    n = 200
    x, noise = torch.full((n, 2), -3.0).double() * torch.tensor([1.0, 0.0]), Noise(Rng(0), n)
    tempering = Tempering(Energy(target), REFERENCE, MAKES["hamiltonian"])
    state = tempering.begin(x)
    *_, (tempering, state, _) = Warmup(200)(tempering, state, noise)
    right, trips, swaps, ratios, chances = [], 0, [], [], []
    for k in range(200, 600):
        state, move = tempering(state, noise.at(k))
        right.append((state.x[:, 0] > 0).double().mean())
        trips += int(move.trips.sum())
        swaps.append(move.swaps.nanmean(0))
        ratios.append(move.ratios)
        chances.append(move.chances.mean(0))
    assert abs(float(torch.stack(right).mean()) - 0.7) < 0.06
    assert trips > 400 * n / 40
    refused = 1 - torch.stack(swaps).nanmean(0)
    assert float(refused.max() - refused.min()) < 0.08
    chance = torch.stack(chances).mean(0)
    assert 0.5 < float(chance.min()) < float(chance.max()) < 0.95
    found = log_z(torch.stack(ratios), tempering.betas)
    assert abs(found.value) < 4 * found.error + 1e-3
    assert found.error < 0.02


def fair(z):
    """Whether z-scores of 1,000 runs of 16 ladders are those of an honest error.

    Over 24 seeds their mean was 0.00 with a spread of 0.044, and their deviation 1.07 (of Student's law with 15
    degrees of freedom) with a spread of 0.021: limits at 4.5 of these refuse one seed in 75,000.
    """
    return abs(float(z.mean())) < 0.2 and 0.97 < float(z.std()) < 1.17


def test_log_z_is_within_its_error():
    """log Z = 5 from 30 moves of 16 ladders, 1,000 times, told to 0.08. Mean logarithms (half an error too low) and
    errors that are a seventh too small are refused.
    """
    runs, each = 1000, 16
    tempering = Settled(Energy(Shifted()), REFERENCE, MAKES["hamiltonian"], BETAS)
    state, noise, moves = tempering.begin(TARGET.sample(runs * each, rng=0)), Noise(Rng(0), runs * each), []
    for k in range(38):
        state, move = tempering(state, noise.at(k))
        moves.append(move.ratios)
    ratios = torch.stack(moves[8:])
    found = [log_z(run, BETAS) for run in ratios.split(each, dim=1)]
    off, error = torch.tensor([(one.value - 5, one.error) for one in found]).T
    assert fair(off / error)
    logs = ((BETAS.diff() * ratios[:, :, :-1]).exp().mean(0).log().sum(1)).reshape(runs, each).mean(1)
    assert not fair((logs - 5) / error)
    assert not fair(off / (error * 6 / 7))


def test_log_z_of_exact_draws():
    """From 20,000 exact rungs: within 4.5 errors (a false alarm in 100,000); also as the moves of one ladder."""
    ratios = []
    for r, beta in enumerate(BETAS.tolist()):
        x = rung(beta).sample(20_000, rng=Rng(3).child(r))
        ratios.append(Shifted().log_prob(x) - REFERENCE.log_prob(x))
    both = torch.stack(ratios, 1)
    for shaped in (both[None], both[:, None]):
        found = log_z(shaped, BETAS)
        assert abs(found.value - 5) < 4.5 * found.error
        assert 1e-3 < found.error < 0.05
    with pytest.raises(BadInput, match="no error"):
        log_z(both[:1, None], BETAS)


def test_the_ladder_is_spaced_by_its_barrier():
    """Where the refusals of four pairs are .4, .4, .1 and .1 the new betas halve the first two."""
    betas = torch.tensor([0.0, 0.2, 0.4, 0.6, 1.0]).double()
    new = spaced(betas, torch.tensor([0.4, 0.4, 0.1, 0.1]))
    assert torch.allclose(new, torch.tensor([0.0, 0.125, 0.25, 0.375, 1.0]).double())


def test_ladders_are_the_same_beside_others(same_beside):
    assert same_beside(Tempering(Energy(TARGET), REFERENCE, MAKES["hamiltonian"], BETAS), TARGET.sample(7, rng=0))


class Coins:
    """A reference on {-1, 1}^3."""

    event_shape = (3,)

    def log_prob(self, x):
        return x.new_full((len(x),), -3 * torch.tensor(2.0).log())

    def sample(self, n, *, rng=None):
        return 2 * (rng.uniform((n, 3), dtype=torch.float64) < 0.5).double() - 1

    def score(self, x):
        return torch.zeros_like(x)


class Chain(Coins):
    score = None

    def log_prob(self, x):
        return 1.5 * (x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2])


def test_spins_are_tempered():
    """log Z = 3 log 2 + 2 log cosh 1.5 of an open chain of spins; the warm-up leaves Flips, which have no step, be."""
    tempering = Tempering(Energy(Chain()), Coins(), lambda energy: Flips(energy, times=3))
    state, noise, ratios = tempering.begin(torch.ones(100, 3).double()), Noise(Rng(0), 100), []
    *_, (tempering, state, _) = Warmup(50)(tempering, state, noise)
    assert tempering.steps is None
    for k in range(50, 250):
        state, move = tempering(state, noise.at(k))
        ratios.append(move.ratios)
    found = log_z(torch.stack(ratios), tempering.betas)
    truth = 3 * torch.tensor(2.0).double().log() + 2 * torch.tensor(1.5).double().cosh().log()
    assert abs(found.value - float(truth)) < 4.5 * found.error
    assert found.error < 0.05
    assert float(state.x.abs().min()) == 1


def test_what_is_wrong_is_told():
    x = TARGET.sample(6, rng=0)
    for betas in ([0.0, 0.5], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0]):
        with pytest.raises(BadInput, match="rise from 0 to 1"):
            Tempering(Energy(TARGET), REFERENCE, MAKES["walk"], torch.tensor(betas))
    nuts = Tempering(Energy(TARGET), REFERENCE, lambda energy: NUTS(energy, STEP), BETAS)
    with pytest.raises(BadInput, match="all chains at once"):
        nuts(nuts.begin(x), Noise(Rng(0), 6))
    with pytest.raises(BadInput, match="Gibbs has nothing"):
        Tempering(Energy(TARGET), REFERENCE, Gibbs, BETAS).begin(x)
    with pytest.raises(BadInput, match="cannot carry"):
        Tempering(Energy(Chain()), Coins(), InformedFlips).begin(torch.ones(4, 3).double())
    walk = Tempering(Energy(TARGET), REFERENCE, MAKES["walk"], BETAS)
    with pytest.raises(BadInput, match="begin it"):
        walk(Metropolis(Energy(TARGET), RandomWalk(STEP)).begin(x), Noise(Rng(0), 6))
    with pytest.raises(BadInput, match="20 or more"):
        next(walk.warm(walk.begin(x), Noise(Rng(0), 6), 5))

    class Box(Coins):
        event_shape = (2,)

        def log_prob(self, x):
            return torch.where((x.abs() < 1).all(1), 0.0, -torch.inf)

    with pytest.raises(BadInput, match="take a wider one"):
        Tempering(Energy(TARGET), Box(), MAKES["walk"], BETAS).begin(x + 5)
