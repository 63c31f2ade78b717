"""The contract of a kernel, over all kernels: a state goes in, the next one and what happened come out.

Each rule is also given a kernel that breaks it.
"""

from dataclasses import replace

import pytest
import torch
from laws import CORRELATED, KERNELS, WIDE, kernel_of, noise, tensor

from driftback.errors import BadInput
from driftback.samplers.markov import NUTS, Energy, Hamiltonian, Langevin, Metropolis, Move, RandomWalk, State, moves


def made(name: str):
    return kernel_of(name, CORRELATED, WIDE["correlated"])


class Broken(AssertionError):
    """A rule of the contract is broken."""


def rule(holds, what: str) -> None:
    if not holds:
        raise Broken(what)


def check(kernel, target, n: int = 50, count: int = 6) -> None:
    """Raises Broken where `kernel` does not keep the contract on `target`."""
    x = target.sample(n, rng=1)
    before, state, one = x.clone(), kernel.begin(x), noise(n, 2)
    rule(torch.equal(state.x, x), "it begins where it is told to")
    for k in range(count):
        after, move = kernel(state, one.at(k))
        rule(torch.equal(x, before), "the points that came in stay as they are")
        rule(after.x.shape == x.shape and after.x.dtype == x.dtype, "points keep shape and type")
        rule(torch.allclose(after.log_prob, target.log_prob(after.x), atol=1e-10), "log_prob is that of the points")
        if state.gradient is not None:
            right = after.gradient is not None and torch.allclose(after.gradient, target.score(after.x), atol=1e-8)
            rule(right, "the gradient is that of the points")
        rule(not after.x.requires_grad and not after.log_prob.requires_grad, "nothing waits for a derivative")
        for part in vars(move).values():
            rule(part is None or part.shape == (n,), "what happened is told chain by chain")
        rule(bool(((move.probability >= 0) & (move.probability <= 1)).all()), "probabilities lie in [0, 1]")
        rule(torch.equal(move.accepted, (after.x != state.x).any(1)), "accepted is what moved")
        again, _ = kernel(state, noise(n, 2).at(k))
        rule(torch.equal(again.x, after.x), "the same noise gives the same move")
        state = after
    few = kernel(kernel.begin(x[:3]), noise(3, 2))[0].x
    many = kernel(kernel.begin(x), noise(n, 2))[0].x[:3]
    rule(torch.allclose(few, many, atol=1e-12), "a chain does not hang on the others")
    rule(not torch.allclose(kernel(kernel.begin(x), noise(n, 3))[0].x[:3], few), "another seed gives other moves")


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_keeps_the_contract(name) -> None:
    check(made(name), CORRELATED)


class Twisted:
    """A random walk that breaks a rule in `way`."""

    def __init__(self, way: str) -> None:
        self.kernel, self.way, self.calls = made("langevin"), way, 0

    def begin(self, x):
        return self.kernel.begin(x + 1 if self.way == "begin" else x)

    def __call__(self, state, noise):
        self.calls += 1
        after, move = self.kernel(state, noise)
        ways = {
            "point": lambda: (State(after.x + 1e-3, after.log_prob, after.gradient), move),
            "gradient": lambda: (State(after.x, after.log_prob, state.gradient), move),
            "single": lambda: (State(after.x.float(), after.log_prob, after.gradient), move),
            "mean": lambda: (after, replace(move, probability=move.probability.mean())),
            "ratio": lambda: (after, replace(move, probability=2 * move.probability)),
            "accepted": lambda: (after, replace(move, accepted=~move.accepted)),
            "memory": lambda: self.kernel(state, noise.at(self.calls)),
            "crowd": lambda: self.kernel(state, noise.at(noise.n)),
            "deaf": lambda: self.kernel(state, replace(noise, rng=noise.rng.__class__(7), kept={})),
        }
        if self.way == "place":
            state.x.copy_(after.x)
        return ways.get(self.way, lambda: (after, move))()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("begin", "begins"),
        ("place", "stay as they are"),
        ("single", "shape and type"),
        ("point", "log_prob is"),
        ("gradient", "gradient is"),
        ("mean", "chain by chain"),
        ("ratio", "lie in"),
        ("accepted", "what moved"),
        ("memory", "same noise"),
        ("crowd", "does not hang"),
        ("deaf", "another seed"),
    ],
)
def test_a_kernel_that_breaks_the_contract_is_refused(way, said) -> None:
    with pytest.raises(Broken, match=said):
        check(Twisted(way), CORRELATED)


class Square:
    """`CORRELATED` and a normal number, on events of shape (2, 2)."""

    event_shape = (2, 2)

    def log_prob(self, x):
        flat = x.flatten(1)
        return CORRELATED.log_prob(flat[:, :3]) - flat[:, 3].square() / 2


class Flat(Square):
    """The same on events of shape (4,)."""

    event_shape = (4,)


@pytest.mark.parametrize(
    "make",
    [
        lambda energy, h: Metropolis(energy, RandomWalk(h)),
        lambda energy, h: Metropolis(energy, Langevin(h)),
        Hamiltonian,
        NUTS,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_events_of_any_shape_and_points_of_either_type(make, dtype) -> None:
    x, h = noise(9).normal("x", (4,)).to(dtype), torch.full((), 0.3, dtype=dtype)
    flat, square = make(Energy(Flat()), h), make(Energy(Square()), h)
    # A metric in float64 must not change the type of the points.
    a, b = flat.begin(x), square.begin(x.reshape(-1, 2, 2))
    for k in range(3):
        (a, move), (b, _) = flat(a, noise(9, 1, dtype).at(k)), square(b, noise(9, 1, dtype).at(k))
        assert b.x.shape == (9, 2, 2)
        assert b.x.dtype == a.x.dtype == a.log_prob.dtype == move.probability.dtype == dtype
        # Proposals of another shape are other numbers in other blocks; those with flat momenta are the same.
        if make in (Hamiltonian, NUTS):
            assert torch.equal(a.x, b.x.flatten(1))


@pytest.mark.parametrize("name", KERNELS)
def test_moves_is_one_kernel_again_and_again(name) -> None:
    kernel, x = made(name), CORRELATED.sample(5, rng=0)
    state = kernel.begin(x)
    found = list(moves(kernel, state, noise(5, 3).at(4), 7))
    assert len(found) == 7
    for k, (after, move) in enumerate(found):
        state, expected = kernel(state, noise(5, 3).at(4 + k))
        # Which chains share a matrix product may change the last digit.
        assert torch.allclose(after.x, state.x, atol=1e-12)
        assert torch.equal(move.accepted, expected.accepted)


def test_states_are_chosen_and_cut_by_chain() -> None:
    a = State(tensor([1.0, 2.0], [3.0, 4.0]), tensor(1.0, 2.0), tensor([5.0, 6.0], [7.0, 8.0]))
    b = State(-a.x, -a.log_prob, -a.gradient)
    mixed = a.where(torch.tensor([True, False]), b)
    assert mixed.x.tolist() == [[1, 2], [-3, -4]]
    assert mixed.log_prob.tolist() == [1, -2]
    assert mixed.gradient.tolist() == [[5, 6], [-7, -8]]
    assert a.where(torch.tensor([True, False]), State(b.x, b.log_prob)).gradient is None
    assert a.rows(torch.tensor([1])).gradient.tolist() == [[7, 8]]
    assert State(a.x, a.log_prob).rows(torch.tensor([1])).gradient is None
    assert Move(a.log_prob > 0, a.log_prob).energy is None


def test_a_state_without_the_gradient_that_is_needed_is_told() -> None:
    state = made("random walk").begin(CORRELATED.sample(3, rng=0))
    for name in ("langevin", "hamiltonian", "nuts"):
        with pytest.raises(BadInput, match="no gradient; let the kernel that uses it begin it"):
            made(name)(state, noise(3))
