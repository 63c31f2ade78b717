"""Hamiltonian Monte Carlo: leapfrogs that can be taken back and keep volume, and flows along an orbit that balance."""

import math

import numpy as np
import pytest
import torch
from laws import DOUBLE, MODES, TILTED, Funnel, Quartic, noise, scales, tensor, told

from driftback.samplers.markov import UNIT, Dense, Diagonal, Energy, Hamiltonian
from driftback.samplers.markov import hamiltonian as module
from driftback.samplers.markov.hamiltonian import LOST, leap

N, D = 20, 3
GROWING = 1 + torch.arange(N, dtype=DOUBLE)[:, None] / N
METRICS = {
    "unit": UNIT,
    "diagonal": Diagonal(scales(D)),
    "dense": Dense(TILTED[D]),
    "diagonal by chain": Diagonal(scales(D) * GROWING),
    "dense by chain": Dense(TILTED[D] * GROWING[..., None]),
}
TARGET = Quartic(D)


def start(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    z = noise(N, seed)
    return 0.8 * z.normal("x", (D,)), z.at(1).normal("z", (D,))


def glide(leap, metric, x, z, step: float, leaps: int):
    energy = Energy(TARGET)
    log_prob, slope = energy.slope(x)
    for _ in range(leaps):
        x, z, log_prob, slope = leap(energy, metric, x, z, slope, tensor(step)[0])
    return x, z, z.square().sum(1) / 2 - log_prob


def way_back(leap, metric) -> float:
    """How far forward, flip, forward, flip ends from where it began."""
    x, z = start()
    there = glide(leap, metric, x, z, 0.2, 15)
    back = glide(leap, metric, there[0], -there[1], 0.2, 15)
    return float(max((back[0] - x).abs().max(), (back[1] + z).abs().max()))


def volume(leap, metric) -> torch.Tensor:
    """The determinants (n,) of three leapfrogs' derivative, by autograd through the slope's formula."""

    class Known:
        target, event_shape = TARGET, (D,)

        def slope(self, x):
            left, right = torch.zeros_like(x), torch.zeros_like(x)
            left[:, 1:], right[:, :-1] = x[:, :-1], x[:, 1:]
            return TARGET.log_prob(x), x - x**3 + 0.3 * (left + right)

    def ahead(x, z):
        slope = Known().slope(x)[1]
        for _ in range(3):
            x, z, _, slope = leap(Known(), metric, x, z, slope, tensor(0.3)[0])
        return torch.cat([x, z], 1).sum(0)

    # The sum over chains has each chain's own derivative, since none knows of the others.
    parts = torch.autograd.functional.jacobian(ahead, start())
    return torch.linalg.det(torch.cat(parts, 2).transpose(0, 1))


def order(leap, metric) -> float:
    """The slope of the logarithm of the mean error in energy over a length of 1.6 against that of the step."""
    x, z = start()
    before = z.square().sum(1) / 2 - TARGET.log_prob(x)
    counts = (40, 80, 160)
    errors = [float((glide(leap, metric, x, z, 1.6 / n, n)[2] - before).abs().mean()) for n in counts]
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("kind", METRICS)
def test_a_leapfrog_can_be_taken_back(kind) -> None:
    assert way_back(leap, METRICS[kind]) < 1e-12


@pytest.mark.parametrize("kind", METRICS)
def test_a_leapfrog_keeps_volume(kind) -> None:
    assert float((volume(leap, METRICS[kind]) - 1).abs().max()) < 1e-10


@pytest.mark.parametrize("kind", METRICS)
def test_the_error_in_energy_is_of_order_two(kind) -> None:
    assert order(leap, METRICS[kind]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_is_a_matrix_its_transpose_and_its_inverse_by_chain(kind) -> None:
    metric, (x, z), rows = METRICS[kind], start(), torch.tensor([17, 3, 4])
    assert torch.allclose((metric.push(z) * x).sum(1), (z * metric.pull(x)).sum(1), atol=1e-12)
    assert torch.allclose(metric.back(metric.push(z)), z, atol=1e-12)
    some = metric.rows(rows)
    for whole, cut in ((metric.push, some.push), (metric.pull, some.pull), (metric.back, some.back)):
        assert torch.allclose(cut(z[rows]), whole(z)[rows], atol=1e-12)


def shrinking(*given):
    x, z, log_prob, slope = leap(*given)
    return x, 0.99 * z, log_prob, slope


def half_lost(energy, metric, x, z, gradient, step):
    """Euler's symplectic rule: it keeps volume, but is not its own mirror."""
    z = z + step * metric.pull(gradient)
    x = x + metric.push(step * z)
    log_prob, slope = energy.slope(x)
    return x, z, log_prob, slope


def turned(energy, metric, x, z, gradient, step):
    """A push with S where S^T belongs."""
    z = z + step / 2 * metric.push(gradient)
    x = x + metric.push(step * z)
    log_prob, slope = energy.slope(x)
    return x, z + step / 2 * metric.push(slope), log_prob, slope


def test_wrong_leapfrogs_are_seen() -> None:
    dense = METRICS["dense"]
    assert way_back(shrinking, UNIT) > 1e-3
    assert float((volume(shrinking, UNIT) - 1).abs().max()) > 1e-3
    assert way_back(half_lost, UNIT) > 1e-3
    assert order(half_lost, UNIT) == pytest.approx(1, abs=0.2)
    # It has an orbit and a volume, but of another energy.
    assert order(turned, dense) != pytest.approx(2, abs=0.5)


def orbit(x, z, metric, step, count):
    """Points, momenta and energies (count, ...) from (x, z) on."""
    points = [glide(leap, metric, x, z, step, k) for k in range(count)]
    return torch.cat([p[0] for p in points]), torch.cat([p[1] for p in points]), torch.cat([p[2] for p in points])


@pytest.mark.parametrize("kind", ["unit", "diagonal", "dense"])
def test_pi_p_is_pi_on_an_orbit(kind) -> None:
    """Momenta both ways: from (i, +) to (i + l, -), from (i, -) to (i - l, +), then the flip; else it stays."""
    metric, step, leaps, count = METRICS[kind], 0.45, 4, 24
    x, z, energy = orbit(*(part[:1] for part in start(3)), metric, step, count)
    kernel = Hamiltonian(Energy(TARGET), tensor(step)[0], length=step * (leaps - 0.5), jitter=0.0, metric=metric)
    both_x, both_z = torch.cat([x, x]), torch.cat([z, -z])
    state = kernel.begin(both_x)
    after, move = kernel(state, told(2 * count, momentum=both_z, accept=torch.zeros(2 * count, dtype=DOUBLE)))
    assert move.leaps.tolist() == [leaps] * (2 * count)
    p = torch.zeros(2 * count, 2 * count, dtype=DOUBLE)
    for i in range(2 * count):
        k, sign = i % count, 1 if i < count else -1
        landed = k + sign * leaps
        if 0 <= landed < count:
            assert torch.allclose(after.x[i], x[landed], atol=1e-10)
            # It arrives with the momentum of its way, which is then turned over.
            p[i, landed + (count if sign > 0 else 0)] = move.probability[i]
            p[i, i] = 1 - move.probability[i]
    weight = (energy.min() - energy).exp().repeat(2)
    inner = [i for i in range(2 * count) if leaps <= i % count < count - leaps]
    assert float((weight @ p - weight)[inner].abs().max()) < 1e-12
    assert float(move.probability.min()) < 0.95


def test_what_happened_is_told() -> None:
    x, z = start(1)
    kernel = Hamiltonian(Energy(TARGET), tensor(0.6)[0], length=2.0)
    seen = set()
    for k in range(12):
        after, move = kernel(kernel.begin(x), told(N, given=z, momentum=z).at(0) if k < 0 else noise(N).at(k))
        ways = int(move.leaps[0])
        seen.add(ways)
        assert bool((move.leaps == ways).all())
        assert 1 <= ways <= math.ceil(4.0 / 0.6)
        assert torch.equal(move.accepted, (after.x != x).any(1))
        push = noise(N).at(k).normal("momentum", (D,))
        end = glide(leap, UNIT, x, push, 0.6, ways)
        before = push.square().sum(1) / 2 - TARGET.log_prob(x)
        assert torch.allclose(move.probability, (before - end[2]).clamp(max=0).exp(), atol=1e-12)
        assert torch.allclose(move.energy, torch.where(move.accepted, end[2], before), atol=1e-12)
        assert torch.equal(after.gradient, Energy(TARGET).slope(after.x)[1])
    assert len(seen) > 3
    assert kernel.short()(kernel.begin(x), noise(N))[1].leaps.tolist() == [1] * N


def test_the_leapfrogs_are_at_most_so_many() -> None:
    kernel = Hamiltonian(Energy(TARGET), tensor(1e-3)[0], length=2.0, most=5)
    move = kernel(kernel.begin(start()[0]), noise(N))[1]
    assert move.leaps.tolist() == [5] * N
    assert kernel.energy.gradients == N * (1 + 5)


def test_a_step_much_too_long_is_divergent_and_refused() -> None:
    kernel = Hamiltonian(Energy(TARGET), tensor(50.0)[0], length=500.0)
    x = start()[0]
    state, move = kernel(kernel.begin(x), noise(N))
    assert bool(move.divergent.all())
    assert torch.equal(state.x, x)
    assert move.probability.tolist() == [0.0] * N
    assert LOST == 1000.0
    assert not bool(Hamiltonian(Energy(TARGET), tensor(0.1)[0])(kernel.begin(x), noise(N))[1].divergent.any())


def test_the_push_is_new_in_each_move() -> None:
    """Moves of one chain that starts again and again from the same point do not repeat."""
    kernel = Hamiltonian(Energy(MODES), tensor(0.3)[0], jitter=0.0)
    state = kernel.begin(tensor([0.2, 0.1], [0.2, 0.1]))
    ends = [kernel(state, noise(2).at(k))[0].x for k in range(100)]
    assert len({tuple(end.flatten().tolist()) for end in ends}) > 90
    assert not torch.equal(ends[0][0], ends[0][1])


def test_a_length_can_be_drawn_or_kept() -> None:
    x = Funnel(3).sample(4, rng=0)
    kept = Hamiltonian(Energy(Funnel(3)), tensor(0.1)[0], length=1.0, jitter=0.0)
    assert {int(kept(kept.begin(x), noise(4).at(k))[1].leaps[0]) for k in range(20)} == {10}
    assert module.math.pi / 2 == Hamiltonian(kept.energy, kept.step).length
