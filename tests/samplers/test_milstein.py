"""Milstein's rule has strong order 1, Euler-Maruyama 1/2, forward and back; both have weak order 1.

Geometric Brownian motion dx = a x dt + s x dW is solved exactly by the same Brownian path: x_T = x_0 exp((a - s^2/2) T
+ s W_T) forward and, W running with the clock's absolute time, exp((-a - s^2/2) T + s W_T) backward.
"""

import math

import numpy as np
import pytest
import torch

from driftback.errors import BadInput
from driftback.processes import NonlinearSDE
from driftback.randomness import Rng
from driftback.samplers import Milstein, brownian, last, milstein

A, S, N = 0.5, 0.8, 2000
GRIDS = (16, 32, 64, 128)
GBM = NonlinearSDE(lambda x, t: A * x, lambda x, t: S * x[..., None])
# The same values, but with a derivative of the wrong sign: Milstein's term is then subtracted.
FLIPPED = NonlinearSDE(lambda x, t: A * x, lambda x, t: S * (2 * x.detach() - x)[..., None])
# Two numbers, each driven by its own noise, on a clock of its own.
PAIR = NonlinearSDE(
    lambda x, t: A * x, lambda x, t: (1 + t) * torch.diag_embed(torch.stack([S * x[:, 0], 0.5 * x[:, 1]], 1))
)


def increments(steps, k, seed=7, forward=True):
    """The Brownian increments (steps, n, k) that the sampler draws under this key."""
    times = [i / steps if forward else 1 - i / steps for i in range(steps + 1)]
    z = brownian.increments(times, (N, k), brownian.EQUAL, rng=Rng(seed).child("noise"), dtype=torch.float64)
    return torch.stack(list(z)) / math.sqrt(steps)


def strong_order(sde, correction, forward=True):
    """The least-squares slope of the mean error at the end against the number of steps."""
    errors = []
    for steps in GRIDS:
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        sign = 1 if forward else -1
        exact = torch.exp(sign * A - S**2 / 2 + S * increments(steps, 1, forward=forward).sum(0))
        x = last(
            Milstein(sde, correction)(torch.ones(N, 1, dtype=torch.float64), times if forward else 1 - times, rng=7)
        )
        errors.append(float((x.x - exact).abs().mean()))
    return -np.polyfit(np.log(GRIDS), np.log(errors), 1)[0]


@pytest.mark.parametrize("forward", [True, False])
def test_milstein_has_strong_order_one(forward):
    assert strong_order(GBM, True, forward) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("forward", [True, False])
def test_euler_maruyama_has_strong_order_one_half(forward):
    assert strong_order(GBM, False, forward) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("forward", [True, False])
def test_a_correction_with_the_wrong_sign_is_noticed(forward):
    """The planted fault has order 1/2, in both directions."""
    assert strong_order(FLIPPED, True, forward) < 0.7


@pytest.mark.slow
def test_noises_of_their_own_and_a_clock(monkeypatch):
    """dx_i = a x_i dt + s_i (1 + t) x_i dW_i: errors against the exact solution halve with the step, Euler's do not.

    The stochastic integral of 1 + t is taken along a path of 2,048 steps, from which the coarse ones are summed.
    """
    fine = 2048
    w = increments(fine, 2)
    t = torch.arange(fine, dtype=torch.float64) / fine
    s = torch.tensor([S, 0.5], dtype=torch.float64)
    exact = torch.exp(A - s**2 / 2 * 7 / 3 + s * ((1 + t)[:, None, None] * w).sum(0))
    h = 1 / 64
    coarse = w.reshape(64, -1, N, 2).sum(1)

    monkeypatch.setattr(milstein, "increments", lambda *_, **__: iter(coarse / math.sqrt(h)))
    times = torch.linspace(0, 1, 65, dtype=torch.float64)
    x = torch.ones(N, 2, dtype=torch.float64)
    errors = [
        float((last(Milstein(PAIR, correction)(x, times, rng=0)).x - exact).abs().mean())
        for correction in (True, False)
    ]
    assert errors[0] < errors[1] / 4


def second_moment(steps, correction):
    """E x^2 after `steps` steps, exactly: each multiplies it by (1 + a h)^2 + s^2 h, with the term s^4 h^2 / 2 more."""
    h = 1 / steps
    return ((1 + A * h) ** 2 + S**2 * h + correction * S**4 * h**2 / 2) ** steps


@pytest.mark.parametrize("correction", [True, False])
def test_both_rules_have_weak_order_one(correction):
    """The moment's exact error halves with the step, and the sampler agrees with it within 4 SE (1 in 16,000)."""
    truth = math.exp(2 * A + S**2)
    errors = [abs(second_moment(steps, correction) - truth) for steps in (64, 128, 256)]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.05)
    n, steps = 20_000, 4
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    squares = last(Milstein(GBM, correction)(torch.ones(n, 1, dtype=torch.float64), times, rng=2)).x ** 2
    error = 4 * float(squares.std()) / math.sqrt(n)
    assert abs(float(squares.mean()) - second_moment(steps, correction)) < error
    # Twice the noise, which is a planted fault, is far outside.
    doubled = NonlinearSDE(GBM.f, lambda x, t: 2 * GBM.g(x, t))
    squares = last(Milstein(doubled, correction)(torch.ones(n, 1, dtype=torch.float64), times, rng=2)).x ** 2
    assert abs(float(squares.mean()) - second_moment(steps, correction)) > error


def test_noises_that_do_not_commute_are_refused():
    """dx_1 = dW_1, dx_2 = x_1 dW_2: their bracket is (0, 1) everywhere. Euler-Maruyama takes it."""
    heisenberg = NonlinearSDE(
        lambda x, t: torch.zeros_like(x),
        lambda x, t: torch.diag_embed(torch.stack([torch.ones_like(x[:, 0]), x[:, 0]], 1)),
    )
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    with pytest.raises(BadInput, match="correction=False"):
        last(Milstein(heisenberg)(torch.ones(3, 2, dtype=torch.float64), times, rng=0))
    x = last(Milstein(heisenberg, correction=False)(torch.zeros(20_000, 2, dtype=torch.float64), times, rng=0)).x
    # Var x_2 = int t dt on the grid = (8 - 1) / 16; 4 SE with the fourth moment of the data itself.
    squares = x[:, 1] ** 2
    assert abs(float(squares.mean()) - 7 / 16) < 4 * float(squares.std()) / math.sqrt(len(x))
    assert abs(float(squares.mean()) - 1 / 4) > 4 * float(squares.std()) / math.sqrt(len(x))


def test_noise_that_is_not_finite_is_refused():
    sde = NonlinearSDE(lambda x, t: x, lambda x, t: x[..., None] / t)
    with pytest.raises(BadInput, match="not finite at t = 0"):
        last(Milstein(sde)(torch.ones(3, 1), torch.tensor([0.0, 0.5], dtype=torch.float64), rng=0))


def test_noises_of_very_different_size_are_looked_at_one_by_one():
    """Heisenberg's pair, a thousandth as strong as a third noise that commutes with everything."""

    def g(x, t):
        a, zero, one = 1e-3, torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])
        first = torch.stack([a * one, zero, -a * x[:, 1] / 2], 1)
        second = torch.stack([zero, a * one, a * x[:, 0] / 2], 1)
        third = torch.stack([zero, zero, 1e3 * x[:, 2]], 1)
        return torch.stack([first, second, third], 2)

    sde = NonlinearSDE(lambda x, t: torch.zeros_like(x), g)
    with pytest.raises(BadInput, match="do not commute"):
        last(Milstein(sde)(torch.ones(2, 3, dtype=torch.float64), torch.linspace(0, 1, 3, dtype=torch.float64), rng=0))
