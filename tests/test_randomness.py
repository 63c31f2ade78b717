"""Keys: the same key gives the same numbers, different keys independent ones, and an item's numbers are its own."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from driftback.randomness import Rng, as_rng, block


@given(n=st.integers(1, 300), first=st.integers(0, 200), event=st.sampled_from([(), (2,), (3, 5, 7), (70, 70)]))
def test_item_i_is_the_same_however_it_is_cut(n: int, first: int, event: tuple[int, ...]) -> None:
    n = min(n, 20) if len(event) == 2 else n
    whole = Rng(5).normal((first + n, *event))
    assert torch.equal(whole[first:], Rng(5).item(first).normal((n, *event)))
    assert torch.equal(whole[: first + 1], Rng(5).normal((first + 1, *event)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws(dtype: torch.dtype) -> None:
    # Two Kolmogorov tests at 1e-4: a false alarm in 5,000, and the seed is fixed.
    normal, uniform = Rng(1).normal((20_000,), dtype=dtype), Rng(1).child("u").uniform((20_000,), dtype=dtype)
    assert normal.dtype == dtype
    assert stats.kstest(normal.numpy().astype(np.float64), "norm").pvalue > 1e-4
    assert stats.kstest(uniform.numpy().astype(np.float64), "uniform").pvalue > 1e-4
    # Planted fault: a deviation off by 10 %.
    assert stats.kstest(1.1 * normal.numpy().astype(np.float64), "norm").pvalue < 1e-2


def moments_are_normal(x: torch.Tensor) -> bool:
    """Even moments to the sixth, the share beyond 3 and 4, all within 5 standard errors: a false alarm in 10^5."""
    x = x.double().flatten()
    parts = {1.0: x**2, 3.0: x**4, 15.0: x**6, 2.6998e-3: (x.abs() > 3).double(), 6.3343e-5: (x.abs() > 4).double()}
    return all(abs(float(part.mean()) - law) < 5 * float(part.std()) / len(x) ** 0.5 for law, part in parts.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_have_normal_tails_and_forget_their_neighbours(dtype: torch.dtype) -> None:
    x = Rng(2).normal((64 * 100, 7, 9), dtype=dtype)
    assert moments_are_normal(x)
    # The two numbers that are made from one pair lie half a block apart.
    blocks = x.reshape(100, 2, -1).double()
    for one, other in ((blocks[:, 0], blocks[:, 1]), (blocks[:, 0] ** 2, blocks[:, 1] ** 2), (x[1:], x[:-1])):
        pair = torch.stack([one.flatten(), other.flatten()]).double()
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / pair.shape[1] ** 0.5
    # Planted faults: a radius that stops at 3.5, and one that is spread too little.
    assert not moments_are_normal(x.clamp(-3.5, 3.5))
    assert not moments_are_normal(0.99 * x)


def test_an_odd_count_of_numbers_is_filled() -> None:
    x = Rng(0).normal((1, 513, 513))
    assert bool(torch.isfinite(x).all())
    assert abs(float(x[0, -1].std()) - 1) < 0.2


def test_keys_do_not_meet() -> None:
    keys = [
        Rng(0),
        Rng(1),
        Rng(0).child(0),
        Rng(0).child(1),
        Rng(0).child(0, 0),
        Rng(0).child("a"),
        Rng(0).child("b"),
        Rng(0).child("a", 1),
        Rng(0).item(64),
        Rng(0).child(1 << 33),
    ]
    rows = torch.stack([k.normal((64,)) for k in keys])
    correlation = torch.corrcoef(rows).fill_diagonal_(0)
    # 45 correlations of 64 pairs, standard error .125: beyond 5 of them is a false alarm in 40,000.
    assert float(correlation.abs().max()) < 0.625
    assert len({k.generator().integers(1 << 62) for k in keys if k.first == 0}) == len(keys) - 1


def test_a_childs_child_is_the_grandchild() -> None:
    assert Rng(0).child("a").child("b", 2) == Rng(0).child("a", "b", 2)
    assert Rng(0).child("a").child("b") != Rng(0).child("b").child("a")


def test_items_of_items_are_counted_on() -> None:
    assert Rng(0).item(3).item(4) == Rng(0).item(7)
    assert torch.equal(Rng(0).item(3).item(4).normal((2,)), Rng(0).normal((9,))[7:])


def test_a_string_is_no_number() -> None:
    """CRC-32 of "a" is a number that may itself be a name, and would then share its noise."""
    assert not torch.equal(Rng(0).child("a").normal((4,)), Rng(0).child(zlib.crc32(b"a")).normal((4,)))


def test_what_belongs_to_no_item_is_independent_of_what_does() -> None:
    """One key, three uses: their words are three keys."""
    sequences = [Rng(0)._sequence(use).generate_state(4).tolist() for use in (1, 2, 3)]
    assert len({tuple(words) for words in sequences}) == 3
    seeds = [int(Rng(0)._sequence(use).generate_state(1, np.uint64)[0] >> np.uint64(1)) for use in (1, 2)]
    first = torch.rand(3, generator=Rng(0).torch_generator())
    one, two = (torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in seeds)
    assert torch.equal(first, two)
    assert not torch.equal(first, one)


def test_generators_follow_the_key() -> None:
    one, two = (torch.rand(3, generator=Rng(2).child("x").torch_generator()) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, torch.rand(3, generator=Rng(2).child("y").torch_generator()))


def test_as_rng() -> None:
    assert as_rng(3) == Rng(3)
    assert as_rng(Rng(3, (1,))) == Rng(3, (1,))
    assert as_rng(None) != as_rng(None)


def test_blocks_are_bounded_in_memory() -> None:
    assert block((2,)) == block((4096,)) == 64
    assert block((116_412,)) == 2
    assert block((10**9,)) == 1
