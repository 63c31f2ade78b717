"""Densities that misbehave are told of in one line that names chain and point; all evaluations are counted."""

import pytest
import torch
from laws import CORRELATED, DOUBLE, MODES, Quartic, noise, tensor

from driftback.errors import BadInput
from driftback.samplers.markov import NUTS, BadDensity, Energy, Hamiltonian, Langevin, Metropolis, RandomWalk, moves
from driftback.samplers.markov.energy import told

X = tensor([0.5, 1.25], [-1.0, 2.0], [3.0, -0.125])


class Of:
    """A target on (2,) by two functions."""

    event_shape = (2,)

    def __init__(self, log_prob, score=None) -> None:
        self.log_prob = log_prob
        if score is not None:
            self.score = score


def spoiled(value: float, row: int = 1):
    """The standard normal law, except in chain `row`, where log p is `value`."""

    def log_prob(x):
        out = -x.square().sum(1) / 2
        return torch.where(torch.arange(len(x)) == row, value, out)

    return log_prob


def plain(x):
    return -x.square().sum(1) / 2


PLACE = r"chain 1, at x = \(-1, 2\)"
WRONG = {
    "a column": (
        lambda x: plain(x)[:, None],
        None,
        r"log_prob gave shape \(3, 1\) for points of shape \(3, 2\); .*\(3,\)",
    ),
    "a scalar": (lambda x: plain(x).sum(), None, r"log_prob gave shape \(\) for points of shape \(3, 2\)"),
    "not summed": (lambda x: -(x**2), None, r"log_prob gave shape \(3, 2\)"),
    "nan": (spoiled(torch.nan), None, f"log_prob is NaN in {PLACE}; mend it there"),
    "plus infinity": (spoiled(torch.inf), None, f"log_prob is plus infinity in {PLACE}"),
    "numpy": (lambda x: plain(x).detach().numpy(), lambda x: -x, "log_prob gave a ndarray; return a tensor"),
    "no gradient": (lambda x: plain(x.detach()), None, "log_prob has no gradient: .*metropolis"),
    "numpy without a gradient": (lambda x: plain(x).detach().numpy(), None, "log_prob has no gradient"),
    "a gradient of its parameters alone": (
        lambda x: (x.detach() * torch.ones(2, dtype=DOUBLE, requires_grad=True)).sum(1),
        None,
        "log_prob has no gradient",
    ),
    "another gradient's shape": (plain, lambda x: -x[:, :1], r"the gradient at points of shape \(3, 2\) is \(3, 1\)"),
    "numpy's gradient": (plain, lambda x: (-x).numpy(), r"the gradient at points of shape \(3, 2\) is ndarray"),
    "nan in the gradient": (
        plain,
        lambda x: torch.where(torch.arange(3)[:, None] == 1, torch.nan, -x),
        f"the gradient of log_prob is not finite in {PLACE}",
    ),
    "outside": (
        spoiled(-torch.inf),
        None,
        r"chain 1 starts outside of the support, at x = \(-1, 2\); start it elsewhere",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_mistake_is_told_in_one_line(case) -> None:
    log_prob, score, said = WRONG[case]
    energy = Energy(Of(log_prob, score))
    with pytest.raises(BadDensity, match=said) as found:
        energy.begin(X, sloped=True)
    assert "\n" not in str(found.value)
    assert isinstance(found.value, BadInput)


@pytest.mark.parametrize("case", ["a column", "a scalar", "nan", "plus infinity", "numpy", "outside"])
def test_each_mistake_is_told_where_no_gradient_is_wanted(case) -> None:
    log_prob, _, said = WRONG[case]
    with pytest.raises(BadDensity, match=said):
        Metropolis(Energy(Of(log_prob)), RandomWalk(tensor(0.1)[0])).begin(X)


@pytest.mark.parametrize("make", [Hamiltonian, NUTS, lambda e, h: Metropolis(e, Langevin(h))])
def test_a_mistake_on_the_way_is_told_too(make) -> None:
    def log_prob(x):
        return torch.where(x[:, 0] > 0.6, torch.nan, plain(x))

    kernel = make(Energy(Of(log_prob)), tensor(0.9)[0])
    state = kernel.begin(torch.zeros(20, 2, dtype=DOUBLE))
    with pytest.raises(BadDensity, match=r"log_prob is NaN in chain \d+, at x = \("):
        list(moves(kernel, state, noise(20), 10))


def test_a_start_of_another_shape_is_told() -> None:
    with pytest.raises(BadInput, match=r"points of shape \(3,\) cannot start a target on \(2,\)"):
        Energy(MODES).begin(torch.zeros(4, 3, dtype=DOUBLE), sloped=True)


def test_untuned_steps_may_meet_nan_but_not_plus_infinity() -> None:
    energy = Energy(Of(spoiled(torch.nan)))
    energy.lenient = True
    value, slope = energy.slope(X)
    assert value[1] == -torch.inf
    assert slope[1].tolist() == [0.0, 0.0]
    assert energy.value(X)[1] == -torch.inf
    assert energy.odd == 2
    with pytest.raises(BadDensity, match="NaN"):
        energy.begin(X, sloped=False)
    assert energy.lenient
    energy = Energy(Of(spoiled(torch.inf)))
    energy.lenient = True
    with pytest.raises(BadDensity, match="plus infinity"):
        energy.value(X)
    # A slope that is not finite counts as a point off the support.
    energy = Energy(Of(plain, lambda x: torch.where(torch.arange(3)[:, None] == 1, torch.inf, -x)))
    energy.lenient = True
    value, slope = energy.slope(X)
    assert (float(value[1]), slope[1].tolist(), energy.odd) == (-torch.inf, [0.0, 0.0], 1)
    assert bool(torch.isfinite(value[[0, 2]]).all())


def test_points_that_are_lost_are_nobodys_mistake() -> None:
    far = tensor([1e200, -1e200], [torch.nan, 0.0], [1.0, 1.0])
    energy = Energy(Of(lambda x: x[:, 0] - x[:, 0] + x[:, 0].square() * 0 - plain(x) * 0 + plain(x)))
    assert energy.value(far)[:2].tolist() == [-torch.inf, -torch.inf]
    assert energy.odd == 0


def test_the_slope_is_zero_off_the_support() -> None:
    energy = Energy(Of(lambda x: torch.where(x[:, 0] > 0, x[:, 0].log() - x[:, 0], -torch.inf)))
    value, slope = energy.slope(X)
    assert value[1] == -torch.inf
    assert slope.tolist() == [[1.0, 0.0], [0.0, 0.0], [1 / 3 - 1, 0.0]]


def test_evaluations_are_counted() -> None:
    energy = Energy(Quartic(2))
    energy.value(X)
    assert (energy.densities, energy.gradients) == (3, 0)
    energy.slope(X)
    assert (energy.densities, energy.gradients) == (6, 3)
    nuts = NUTS(Energy(Quartic(2)), tensor(0.4)[0])
    state = nuts.begin(X)
    leaps = 0
    for _, move in nuts.run(state, noise(3), 20):
        leaps += int(move.leaps.sum())
    assert (nuts.energy.densities, nuts.energy.gradients) == (3 + leaps, 3 + leaps)
    walk = Metropolis(Energy(Quartic(2)), RandomWalk(tensor(0.4)[0]))
    walk(walk.begin(X), noise(3))
    assert (walk.energy.densities, walk.energy.gradients) == (6, 0)


def test_the_gradient_is_the_targets_own_or_one_handed_in_or_torchs() -> None:
    x = CORRELATED.sample(5, rng=0)

    class Plain:
        event_shape = (3,)
        log_prob = staticmethod(CORRELATED.log_prob)

    by_torch = Energy(Plain()).slope(x)
    by_formula = Energy(CORRELATED).slope(x)
    handed = Energy(Plain(), CORRELATED.score).slope(x)
    for found in (by_formula, handed):
        assert torch.allclose(found[0], by_torch[0], atol=1e-12)
        assert torch.allclose(found[1], by_torch[1], atol=1e-10)
    # The type is that of the points, though a mixture answers in float64.
    assert {part.dtype for part in Energy(CORRELATED).slope(x.float())} == {torch.float32}
    assert Energy(CORRELATED).value(x.float()).dtype == torch.float32
    assert not by_torch[0].requires_grad
    assert not by_torch[1].requires_grad


def test_density_and_gradient_are_taken_at_once_where_the_target_knows_how() -> None:
    calls = []

    class Both:
        event_shape = (2,)

        def log_prob(self, x):
            calls.append("alone")
            return -x.square().sum(1) / 2

        def log_prob_and_score(self, x):
            calls.append("together")
            return -x.square().sum(1) / 2, -x

    energy, x = Energy(Both()), tensor([1.0, 2.0])
    value, slope = energy.slope(x)
    assert (value.tolist(), slope.tolist(), calls) == ([-2.5], [[-1.0, -2.0]], ["together"])
    assert (energy.densities, energy.gradients) == (1, 1)
    # A gradient that is handed in goes first.
    assert Energy(Both(), lambda x: -3 * x).slope(x)[1].tolist() == [[-3.0, -6.0]]
    assert calls == ["together", "alone"]


def test_a_point_is_told_by_its_first_coordinates() -> None:
    assert told(tensor(1.0, 2.5)) == "x = (1, 2.5)"
    assert told(torch.zeros(2, 4)) == "x = (0, 0, 0, 0, 0, 0, ... 8 numbers)"
