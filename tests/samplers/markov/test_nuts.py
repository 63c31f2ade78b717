"""NUTS: its law on an orbit is the target's, and the machine that walks all chains at once does what one chain would.

The law is that of a plain recursive version (`orbits`), by all directions; the machine is held against it by numbers of
times, and against a sequential version with the same dice decision by decision.
"""

import sys

import numpy as np
import pytest
import torch
from laws import DOUBLE, MODES, TILTED, Quartic, noise, scales, tensor, told
from orbits import RIGHT, Rules, law, leapfrog, walk
from scipy.stats import chisquare

from driftback.errors import BadInput
from driftback.samplers.markov import NUTS, UNIT, Dense, Diagonal, Energy, moves
from driftback.samplers.markov import nuts as nuts_module
from driftback.samplers.markov.nuts import Trees


@pytest.fixture(autouse=True, params=["torch", "compiled"])
def way(request, monkeypatch) -> str:
    """Everything is asked of both machines: torch's, and the one that numba compiles."""
    if request.param == "torch":
        monkeypatch.setattr(nuts_module, "_quick", lambda like: None)
    return request.param


DEPTH = 4
REACH = 2**DEPTH - 1


class Warped:
    """A banana, by formula: -x^2/2 - (y - x^2/2)^2 / (2 .4)."""

    event_shape = (2,)

    def log_prob(self, x):
        return -(x[:, 0] ** 2) / 2 - (x[:, 1] - x[:, 0] ** 2 / 2) ** 2 / 0.8

    def known(self, x):
        off = x[1] - x[0] ** 2 / 2
        return -(x[0] ** 2) / 2 - off**2 / 0.8, np.array([-x[0] + off * x[0] / 0.4, -off / 0.4])


class Cliff:
    """The normal law on the half-plane x > -0.6."""

    event_shape = (2,)

    def log_prob(self, x):
        return torch.where(x[:, 0] > -0.6, -x.square().sum(1) / 2, -torch.inf)

    def known(self, x):
        if x[0] > -0.6:
            return -(x @ x) / 2, -x
        return -np.inf, np.zeros(2)


CASES = {
    "banana": (Warped(), np.eye(2), 0.25),
    "banana, long steps": (Warped(), np.eye(2), 0.4),
    "banana, dense": (Warped(), TILTED[2].numpy(), 0.35),
    "banana, short steps": (Warped(), np.diag([0.7, 1.2]), 0.12),
    "cliff": (Cliff(), np.eye(2), 0.4),
}


def metric_of(scale: np.ndarray):
    return Dense(torch.from_numpy(scale))


def orbit(case: str, seed: int, count: int):
    """Positions, momenta and energies of `count` points, about evenly to both sides of a random one."""
    target, scale, h = CASES[case]
    numbers = np.random.default_rng(seed)
    x, z = 0.5 + 0.4 * numbers.standard_normal(2), numbers.standard_normal(2)
    points = {0: (x, z, target.known(x)[0])}
    for sign in (1, -1):
        at = (x, z)
        for k in range(1, count // 2 + 1):
            now = leapfrog(target.known, scale, *at, sign * h)
            at, points[sign * k] = now[:2], now
    ordered = [points[k] for k in sorted(points)]
    xs, zs = (np.array([point[part] for point in ordered]) for part in (0, 1))
    return xs, zs, (zs**2).sum(1) / 2 - np.array([point[2] for point in ordered])


def unbalance(case: str, seed: int, rules: Rules = RIGHT) -> float:
    """The largest of |sum_i w_i P_ij - w_j| / max w over points j whose every start lies on the orbit."""
    _, z, energy = orbit(case, seed, 6 * REACH)
    weight = np.exp(energy.min() - energy)
    inner = range(REACH, len(z) - REACH)
    p = np.zeros((len(z), len(z)))
    for i in inner:
        if weight[i] > 0:
            p[i] = law(z, energy, i, DEPTH, rules)
    asked = list(range(2 * REACH, len(z) - 2 * REACH))
    assert np.allclose(p[[i for i in asked if weight[i] > 0]].sum(1), 1, atol=1e-12)
    return float(np.abs(weight @ p - weight)[asked].max())


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_pi_p_is_pi_on_an_orbit(case, seed) -> None:
    assert unbalance(case, seed) < 1e-12


@pytest.mark.parametrize("rules", [Rules(inner=False), Rules(weighed=False)])
def test_without_the_sub_trees_or_the_weights_pi_is_lost(rules) -> None:
    assert max(unbalance(case, seed, rules) for case in ("banana", "banana, long steps") for seed in (1, 2, 3)) > 1e-3


def test_plain_sampling_between_the_halves_would_be_right_too() -> None:
    """The bias is for speed; so it takes the comparison of moves, below, to see that it is there."""
    assert unbalance("banana", 0, Rules(biased=False)) < 1e-12
    assert unbalance("banana", 0, Rules(halves=False)) < 1e-12


def compared(case: str, n: int, seed: int, make=NUTS, depth: int = 6) -> tuple[list[str], tuple]:
    """Where the machine's moves of `n` chains differ from those of the sequential version with the same dice."""
    target, scale, h = CASES[case]
    start = noise(n, seed).normal("start", (2,)).abs() - tensor(0.5, 0.5)
    one = noise(n, seed + 100).at(3)
    nuts = make(Energy(target), tensor(h)[0], metric_of(scale), depth)
    state, move = nuts(nuts.begin(start), one)
    dice, push = one.uniform(f"tree {depth}", (3, depth)), one.normal("momentum", (2,))
    wrong = []
    for i in range(n):
        found = walk(target.known, scale, h, start[i].numpy(), push[i].numpy(), dice[i].numpy(), depth)
        same = {
            "leaves": found.leaves == int(move.leaps[i]),
            "divergence": found.divergent == bool(move.divergent[i]),
            "whether it moved": found.moved == bool(move.accepted[i]),
            "point": np.allclose(found.x, state.x[i].numpy(), atol=1e-9),
            "chance": abs(found.chance - float(move.probability[i])) < 1e-9,
            "energy": abs(found.energy - float(move.energy[i])) < 1e-8,
        }
        wrong += [f"{name} of chain {i}" for name, right in same.items() if not right]
    assert torch.allclose(state.log_prob, target.log_prob(state.x), atol=1e-12)
    assert torch.equal(state.gradient, nuts.energy.slope(state.x)[1])
    return wrong, (state, move)


@pytest.mark.parametrize("case", CASES)
def test_the_machine_takes_the_decisions_of_a_single_chain(case) -> None:
    wrong, (_, move) = compared(case, 600, 0)
    assert wrong == []
    assert len(move.leaps.unique()) > 5
    assert bool(move.divergent.any()) or case != "cliff"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("case", CASES)
def test_the_machine_takes_the_decisions_of_a_single_chain_for_many(case, seed) -> None:
    assert compared(case, 4_000, seed, depth=9)[0] == []


@pytest.mark.parametrize("way", ["torch"], indirect=True)
def test_other_machines_take_other_decisions(way, monkeypatch) -> None:
    """Planted faults: sub-trees that are not asked, luck that is not stretched, leaves of equal weight."""
    asked, draw = Trees._turned, Trees._draw

    def unasked(self, rows, leaf, z, total):
        return asked(self, rows, leaf, z, total) & False

    def unstretched(self, rows, point, gain):
        luck = self.luck[rows].clone()
        draw(self, rows, point, gain)
        self.luck[rows] = luck

    def unweighted(self, rows, point, gain):
        draw(self, rows, point, torch.zeros_like(gain))

    for name, wrong in (("_turned", unasked), ("_draw", unstretched), ("_draw", unweighted)):
        with monkeypatch.context() as patch:
            patch.setattr(Trees, name, wrong)
            assert len(compared("banana, short steps", 100, 0)[0]) > 10


def picks(case: str, seed: int, n: int):
    """How often the machine picks each point of an orbit from its middle, and what is to be expected."""
    target, scale, h = CASES[case]
    xs, z, energy = orbit(case, seed, 2 * REACH)
    middle = len(xs) // 2
    nuts = NUTS(Energy(target), tensor(h)[0], metric_of(scale), DEPTH)
    x, push = (torch.from_numpy(part[middle]).expand(n, 2) for part in (xs, z))
    state = nuts(nuts.begin(x), told(n, seed, momentum=push))[0]
    near = (state.x[:, None] - torch.from_numpy(xs)).norm(dim=2)
    assert float(near.amin(1).max()) < 1e-9
    return np.bincount(near.argmin(1).numpy(), minlength=len(xs)), n * law(z, energy, middle, DEPTH), energy, z


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_points_are_picked_as_often_as_they_should_be(case, seed) -> None:
    """Chi-square of 20,000 picks at 1e-6 in each of 10 cases: a false alarm in 100,000."""
    seen, expected, *_ = picks(case, seed, 20_000)
    enough = expected > 5
    assert seen[~enough].sum() <= expected[~enough].sum() + 6 * max(1, expected[~enough].sum()) ** 0.5
    kept = expected[enough]
    assert chisquare(seen[enough], kept * seen[enough].sum() / kept.sum()).pvalue > 1e-6


@pytest.mark.parametrize("rules", [Rules(biased=False), Rules(weighed=False)])
def test_another_law_would_have_been_seen(rules) -> None:
    seen, _, energy, z = picks("banana, long steps", 2, 20_000)
    wrong = np.maximum(law(z, energy, len(z) // 2, DEPTH, rules), 1e-9)
    assert chisquare(seen, wrong * seen.sum() / wrong.sum()).pvalue < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("scale", [None, "diagonal", "by chain"])
def test_chains_that_do_not_wait_do_what_chains_that_wait_do(dtype, scale, way, monkeypatch) -> None:
    monkeypatch.setattr("driftback.samplers.markov.noise.AHEAD", 2)
    monkeypatch.setattr("driftback.samplers.markov.quick_trees.AHEAD", 5)
    n, count, d = 6, 12, 3
    metric = {
        None: UNIT if dtype == DOUBLE else Diagonal(torch.ones((), dtype=dtype)),
        "diagonal": Diagonal(scales(d).to(dtype)),
        "by chain": Diagonal((scales(d) * (1 + torch.arange(n)[:, None] / n)).to(dtype)),
    }[scale]
    # Steps of their own let some chains run far ahead of the others, over several blocks of noise.
    step = torch.linspace(0.05, 0.9, n, dtype=dtype)
    nuts = NUTS(Energy(Quartic(d)), step, metric, 6)
    x = noise(n).normal("x", (d,)).to(dtype)
    state, found = nuts.begin(x), noise(n, 1, dtype)
    for k, (after, move) in enumerate(nuts.run(state, found.at(2), count)):
        state, expected = nuts(state, noise(n, 1, dtype).at(2 + k))
        assert torch.equal(after.x, state.x)
        assert torch.equal(after.log_prob, state.log_prob)
        assert torch.equal(after.gradient, state.gradient)
        for name, part in vars(expected).items():
            assert torch.equal(getattr(move, name), part), name
        assert after.x.dtype == after.log_prob.dtype == move.probability.dtype == dtype
    assert k == count - 1
    assert way == "compiled" or max(key[1] for key in found.kept) >= 5


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_chain_is_the_same_beside_others(dtype) -> None:
    def run(n):
        nuts = NUTS(Energy(Quartic(3)), torch.full((), 0.4, dtype=dtype), Diagonal(scales(3).to(dtype)), 6)
        state = nuts.begin(noise(7).normal("x", (3,))[:n].to(dtype))
        return [after.x[:3] for after, _ in nuts.run(state, noise(n, 1, dtype), 40)]

    assert all(torch.equal(a, b) for a, b in zip(run(3), run(7), strict=True))


@pytest.mark.parametrize("way", ["compiled"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("own", [False, True])
def test_both_machines_give_the_same_chains(dtype, own, way, monkeypatch) -> None:
    """To rounding, until it decides: in float64 for 30 moves, in float32 for one in which all but 1 in 100 agree."""
    n, d, count = (300, 5, 30) if dtype == DOUBLE else (600, 5, 1)
    scale = scales(d).to(dtype)
    metric = Diagonal(scale * (1 + torch.arange(n)[:, None] / n).to(dtype)) if own else Dense(torch.diag(scale))
    nuts = NUTS(Energy(Quartic(d)), torch.full((), 0.4, dtype=dtype), metric, 6)
    state = nuts.begin(noise(n).normal("x", (d,)).to(dtype))
    ours = list(nuts.run(state, noise(n, 1, dtype), count))
    monkeypatch.setattr(nuts_module, "_quick", lambda like: None)
    for (mine, move), (other, expected) in zip(ours, nuts.run(state, noise(n, 1, dtype), count), strict=True):
        same = (move.leaps == expected.leaps) & (move.accepted == expected.accepted)
        assert float(same.double().mean()) >= (1.0 if dtype == DOUBLE else 0.99)
        close = {"rtol": 1e-6, "atol": 1e-6} if dtype == DOUBLE else {"rtol": 1e-3, "atol": 1e-3}
        alike = torch.isclose(mine.x, other.x, **close).all(1)
        assert float(alike.double().mean()) >= (1.0 if dtype == DOUBLE else 0.99)
        for a, b in ((mine.log_prob, other.log_prob), (move.energy, expected.energy)):
            assert torch.allclose(a[alike], b[alike], rtol=1e-3, atol=1e-3)
        assert vars(move).keys() == vars(expected).keys()
        assert all(part.dtype == vars(expected)[name].dtype for name, part in vars(move).items())


def test_a_chain_that_is_slow_holds_the_others_for_a_ring(way, monkeypatch) -> None:
    """One chain takes steps 25 times as short: the others wait for it, and nothing is lost."""
    monkeypatch.setattr("driftback.samplers.markov.quick_trees.AHEAD", 3)
    monkeypatch.setattr(nuts_module, "AHEAD", 3)
    step = torch.tensor([0.02, 0.5, 0.5, 0.5], dtype=DOUBLE)
    nuts = NUTS(Energy(MODES), step, depth=7)
    state = nuts.begin(MODES.sample(4, rng=0))
    ours, spent = [], []
    for after, _ in nuts.run(state, noise(4), 12):
        ours.append(after.x)
        spent.append(nuts.energy.gradients)
    # While the slow chain takes its first trees the others stop; unbounded they would all be done by then.
    assert spent[0] < 0.6 * spent[-1]
    for k, x in enumerate(ours):
        state = nuts(state, noise(4).at(k))[0]
        assert torch.equal(x, state.x)


def test_moves_takes_the_kernels_own_way() -> None:
    nuts = NUTS(Energy(MODES), tensor(0.5)[0])
    state = nuts.begin(MODES.sample(4, rng=0))
    ours = [after.x for after, _ in moves(nuts, state, noise(4), 5)]
    theirs = [after.x for after, _ in nuts.run(state, noise(4), 5)]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert list(nuts.run(state, noise(4), 0)) == []


@pytest.mark.parametrize("way", ["compiled"], indirect=True)
def test_without_numba_torch_keeps_the_books(way, monkeypatch) -> None:
    assert nuts_module._quick(tensor(1.0)) is not None
    assert nuts_module._quick(torch.ones(1, dtype=torch.bfloat16)) is None
    monkeypatch.setitem(sys.modules, "driftback.samplers.markov.quick_trees", None)
    monkeypatch.delattr("driftback.samplers.markov.quick_trees", raising=False)
    nuts_module._compiled.cache_clear()
    try:
        assert nuts_module._quick(tensor(1.0)) is None
        nuts = NUTS(Energy(MODES), tensor(0.3)[0])
        assert nuts(nuts.begin(MODES.sample(2, rng=0)), noise(2))[0].x.shape == (2, 2)
    finally:
        nuts_module._compiled.cache_clear()


def test_trees_too_deep_are_refused() -> None:
    with pytest.raises(BadInput, match="depth of 1 to 20, 10 as a rule, not 40"):
        NUTS(Energy(MODES), tensor(0.3)[0], depth=40)


def test_what_happened_is_told() -> None:
    nuts = NUTS(Energy(Quartic(3)), tensor(0.3)[0], depth=3)
    state = nuts.begin(noise(200).normal("x", (3,)))
    after, move = nuts(state, noise(200, 1))
    assert int(move.leaps.max()) == 2**3 - 1
    assert int(move.leaps.min()) >= 1
    assert bool(((move.probability >= 0) & (move.probability <= 1)).all())
    assert torch.equal(move.accepted, (after.x != state.x).any(1))
    assert not bool(move.divergent.any())
    # The energy is that of the point and the momentum that was there: at least -log p.
    assert bool((move.energy >= -after.log_prob - 1e-12).all())


def test_a_cliff_and_a_step_much_too_long_are_divergent() -> None:
    nuts = NUTS(Energy(Quartic(2)), tensor(40.0)[0])
    state = nuts.begin(noise(50).normal("x", (2,)))
    after, move = nuts(state, noise(50, 1))
    assert bool(move.divergent.all())
    assert torch.equal(after.x, state.x)
    assert move.leaps.tolist() == [1] * 50
    assert float(move.probability.max()) < 1e-9
    cliff = NUTS(Energy(Cliff()), tensor(0.4)[0])
    state = cliff.begin(torch.full((300, 2), 0.2, dtype=DOUBLE))
    for after, move in cliff.run(state, noise(300, 2), 10):
        assert bool((after.x[:, 0] > -0.6).all())
        assert bool(torch.isfinite(move.energy).all())
    assert 0 < int(move.divergent.sum()) < 300


def test_the_push_is_new_in_each_move() -> None:
    nuts = NUTS(Energy(MODES), tensor(0.3)[0])
    state = nuts.begin(tensor([0.2, 0.1], [0.2, 0.1]))
    ends = [nuts(state, noise(2).at(k))[0].x for k in range(60)]
    assert len({tuple(end.flatten().tolist()) for end in ends}) > 50


def test_tuning_and_the_smaller_trees_of_the_beginning() -> None:
    nuts = NUTS(Energy(MODES), tensor(0.3)[0])
    assert nuts.early(6).depth == 6
    assert NUTS(nuts.energy, nuts.step, depth=4).early(6).depth == 4
    other = nuts.tuned(tensor(0.1)[0], Diagonal(scales(2)))
    assert (float(other.step), other.depth, other.aim) == (0.1, 10, 0.8)
    assert nuts.tuned(tensor(0.1)[0]).metric is nuts.metric
