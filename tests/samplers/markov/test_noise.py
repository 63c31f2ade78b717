"""The noise of chains: what chain i gets in its move k hangs on key, name, i and k alone."""

import pytest
import torch
from laws import DOUBLE
from scipy.stats import kstest

from driftback.randomness import as_rng
from driftback.samplers.markov import Noise
from driftback.samplers.markov.noise import AHEAD

MOVES = (0, 1, AHEAD - 1, AHEAD, 5 * AHEAD + 3)


def noise(n: int, seed: int = 0, dtype=DOUBLE) -> Noise:
    return Noise(as_rng(seed), n, dtype)


@pytest.mark.parametrize("k", MOVES)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_chain_does_not_hang_on_the_number_of_chains(dtype, k) -> None:
    few, many = noise(3, dtype=dtype).at(k), noise(70, dtype=dtype).at(k)
    for draw in (lambda one: one.normal("a", (2, 5)), lambda one: one.uniform("b"), lambda one: one.uniform("c", (4,))):
        assert torch.equal(draw(few), draw(many)[:3])


@pytest.mark.parametrize("normal", [True, False])
def test_chains_that_run_ahead_get_what_they_would_have_got(normal) -> None:
    """In any order of asking, even after its block has been thrown away."""
    rows, moves = torch.tensor([4, 0, 2, 2, 1, 3]), torch.tensor([600, 0, 64, 63, 1000, 7])

    def alone(i, k):
        fresh = noise(5).at(k)
        return (fresh.normal("a", (3,)) if normal else fresh.uniform("a", (3,)))[i]

    one = noise(5)
    for _ in range(3):
        found = one.of(rows, moves, "a", (3,), normal=normal)
        for row, i, k in zip(found, rows.tolist(), moves.tolist(), strict=True):
            assert torch.equal(row, alone(i, k))
        rows, moves = rows.flip(0), moves.flip(0)
    assert len(one.kept) < 6


def test_types() -> None:
    single = noise(3, dtype=torch.float32)
    rows = torch.arange(3)
    assert single.normal("a").dtype == torch.float32
    assert single.of(rows, rows, "a", (), normal=True).dtype == torch.float32
    # A uniform number decides, so it has 53 bits whatever the points.
    assert single.uniform("u").dtype == DOUBLE
    assert single.of(rows, rows, "u", (), normal=False).dtype == DOUBLE


@pytest.mark.parametrize("event", [(), (7,), (2, 3), (2000,)])
def test_shapes_and_blocks(event) -> None:
    one = noise(4)
    assert one.at(9).normal("a", event).shape == (4, *event)
    assert one.at(9).uniform("b", event).shape == (4, *event)
    assert torch.equal(one.at(9).normal("a", event), noise(4).at(9).normal("a", event))
    assert not torch.equal(one.at(8).normal("a", event), one.at(9).normal("a", event))


def test_laws() -> None:
    """Kolmogorov-Smirnov over chains and over moves at 1e-6 each: of four a false alarm in 250,000 seeds."""
    chains = noise(20_000, 1)
    moves = [noise(2, 2).at(0)]
    moves = [moves[0].at(k) for k in range(5_000)]
    assert kstest(chains.normal("a"), "norm").pvalue > 1e-6
    assert kstest(chains.uniform("u"), "uniform").pvalue > 1e-6
    assert kstest([float(one.normal("a")[0]) for one in moves], "norm").pvalue > 1e-6
    assert kstest([float(one.uniform("u")[1]) for one in moves], "uniform").pvalue > 1e-6
    assert bool((chains.uniform("u") >= 0).all())
    assert bool((chains.uniform("u") < 1).all())


def test_moves_chains_names_and_seeds_are_independent() -> None:
    """Correlations of 20,000 pairs below 5 standard errors, 0.035: of six a false alarm in 290,000."""
    one, count = noise(20_000, 3), 20_000

    def together(a, b):
        return abs(float((a * b).mean()))

    a = one.normal("a", (2,))
    others = [one.at(1).normal("a", (2,)), one.normal("b", (2,)), noise(count, 4).normal("a", (2,)), a.roll(1, 0)]
    for other in others:
        assert together(a[:, 0], other[:, 0]) < 5 / count**0.5
    assert together(a[:, 0], a[:, 1]) < 5 / count**0.5
    assert together(one.uniform("u") - 0.5, one.at(1).uniform("u") - 0.5) < 5 / 12 / count**0.5


def test_what_is_shared_hangs_on_the_move_and_not_on_the_chains() -> None:
    def shared(n, k):
        return float(noise(n).at(k).shared("length").uniform((1,), dtype=DOUBLE))

    assert shared(3, 5) == shared(70, 5)
    assert shared(3, 5) != shared(3, 6)
    other = Noise(as_rng(0).item(100), 3, DOUBLE).at(5).shared("length")
    assert float(other.uniform((1,), dtype=DOUBLE)) == shared(3, 5)
