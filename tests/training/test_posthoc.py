"""Averages of any length: the profiles' algebra against integrals, and the combinations against averages tracked."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from driftback.errors import BadInput, DamagedModel
from driftback.training import posthoc, snapshots
from driftback.training.posthoc import (
    TRACKED,
    PowerAverages,
    Profile,
    combination,
    decay_of,
    exponent_of,
    length_of,
)


def profile(one: Profile, t: float) -> float:
    g = one.exponent
    return (g + 1) * (t / one.step) ** g / one.step if t <= one.step else 0.0


@pytest.mark.parametrize("length", [0.02, 0.05, 0.1, 0.25])
def test_the_length_is_the_deviation_of_the_profile(length: float) -> None:
    one = Profile(exponent_of(length), 40)
    mass, mean, square = (quad(lambda t, k=k: t**k * profile(one, t), 0, 40)[0] for k in range(3))
    assert mass == pytest.approx(1)
    assert math.sqrt(square - mean**2) / 40 == pytest.approx(length, rel=1e-8)
    assert length_of(exponent_of(length)) == pytest.approx(length, rel=1e-10)


def test_the_papers_exponents() -> None:
    """sigma_rel .05 and .10 are gamma 16.97 and 6.94 (section 3.1)."""
    assert [round(exponent_of(length), 2) for length in TRACKED] == [16.97, 6.94]
    for wrong in (0.0, 0.019, 0.26, math.nan):
        with pytest.raises(BadInput, match=r"give 0.02 to 0.25"):
            exponent_of(wrong)


@pytest.mark.parametrize(("a", "b"), [((3.0, 10), (7.0, 25)), ((7.0, 10), (3.0, 25)), ((2.0, 9), (5.0, 9))])
def test_inner_products_are_the_integrals(a: tuple[float, int], b: tuple[float, int]) -> None:
    one, other = Profile(*a), Profile(*b)
    wanted = quad(lambda t: profile(one, t) * profile(other, t), 0, min(one.step, other.step))[0]
    assert one.inner(other) == pytest.approx(wanted, rel=1e-10)
    assert other.inner(one) == pytest.approx(wanted, rel=1e-10)


def walk(steps: int, seed: int = 0) -> np.ndarray:
    """Weights on their way, (steps, 40): they drift, and they shake less and less."""
    generator = np.random.default_rng(seed)
    t = (np.arange(1, steps + 1) / steps)[:, None]
    return np.sin(3 * t + np.arange(40)) + generator.normal(size=(steps, 40)) * (1.2 - t)


def tracked(values: np.ndarray, length: float) -> np.ndarray:
    """The average after each step, (steps, 40), by the rule itself."""
    out, now = np.empty_like(values), values[0]
    for k, value in enumerate(values, 1):
        b = decay_of(exponent_of(length), k)
        now = b * now + (1 - b) * value
        out[k - 1] = now
    return out


def test_the_rule_tracks_the_profile_exactly() -> None:
    """Weights that stay as they are within a step: the average is the sum of the profile's mass in each step."""
    values, length = walk(50), 0.1
    g, k = exponent_of(length), np.arange(51)
    mass = np.diff((k / 50) ** (g + 1))
    assert np.allclose(tracked(values, length)[-1], mass @ values, atol=1e-12)


@pytest.mark.parametrize("length", [0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25])
def test_any_length_is_made_of_two(length: float) -> None:
    """Against the average that was tracked directly: as near as the combination says, and nearer than those tracked."""
    steps, count = 960, 16
    values = walk(steps)
    averages = {s: tracked(values, s) for s in TRACKED}
    ends = [steps * (i + 1) // count for i in range(count)]
    kept = [Profile(exponent_of(s), end) for end in ends for s in TRACKED]
    factors, missed = combination(kept, Profile(exponent_of(length), steps))
    assert factors.sum() == pytest.approx(1)
    made = factors @ np.array([averages[s][end - 1] for end in ends for s in TRACKED])
    direct = tracked(values, length)[-1]
    error = float(np.sqrt(np.mean((made - direct) ** 2)))
    if length in TRACKED:
        assert missed < 1e-6
        assert error < 1e-9
    norm = math.sqrt(Profile(exponent_of(length), steps).inner(Profile(exponent_of(length), steps)))
    # Cauchy and Schwarz, over time; what is constant is kept exactly, for the factors sum to 1.
    most = missed * norm * np.sqrt(((values - values.mean(0)) ** 2).sum(0))
    assert (np.abs(made - direct) <= most + 1e-9).all()
    nearest = min(float(np.sqrt(np.mean((averages[s][-1] - direct) ** 2))) for s in TRACKED)
    assert length in TRACKED or error < 0.7 * nearest


def test_weights_at_rest_stay() -> None:
    kept = [Profile(exponent_of(s), end) for end in (20, 40, 60, 80) for s in TRACKED]
    for length in (0.03, 0.08, 0.2):
        factors, _ = combination(kept, Profile(exponent_of(length), 80))
        assert factors @ np.ones(8) == pytest.approx(1, abs=1e-12)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2))


def moved(net: nn.Module, step: int) -> None:
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + k)) / 10)


def test_a_folder_of_snapshots_gives_an_average(tmp_path: Path) -> None:
    net = network()
    averages, direct = PowerAverages(net), []
    for step in range(1, 161):
        moved(net, step)
        averages.update(net, step)
        direct.append(net[0].weight.detach().double().numpy().copy())
        if step % 10 == 0:
            snapshots.write(tmp_path, averages, step)
    for length in (0.05, 0.07, 0.15):
        found, step = snapshots.averaged(tmp_path, length)
        assert step == 160
        assert set(found) == {name for name, _ in net.named_parameters()}
        assert all(value.dtype == torch.float32 for value in found.values())
        now = direct[0]
        for k, value in enumerate(direct, 1):
            b = decay_of(exponent_of(length), k)
            now = b * now + (1 - b) * value
        # Half precision costs up to 2^-11 of a weight; the combination up to .004 here.
        assert np.abs(found["0.weight"].numpy() - now).max() < 0.006
        # Planted fault: the last weights in the place of their average.
        assert np.abs(direct[-1] - now).max() > 0.03
    files = sorted((tmp_path / "training" / "snapshots").iterdir())
    assert len(files) == 16
    files[3].write_bytes(files[3].read_bytes()[:-1])
    with pytest.raises(DamagedModel, match=files[3].name):
        snapshots.averaged(tmp_path, 0.07)


def test_what_there_is_no_average_for_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no snapshots .*--snapshots") as caught:
        snapshots.averaged(tmp_path, 0.1)
    assert "\n" not in str(caught.value)
    averages = PowerAverages(network())
    for step in (50, 100):
        snapshots.write(tmp_path, averages, step)
    snapshots.averaged(tmp_path, 0.1)
    with pytest.raises(BadInput, match=r"2 snapshots .* too few .* nearer to 0.05 .. 0.1"):
        snapshots.averaged(tmp_path, 0.02)


def test_their_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    count = sum(p.numel() for p in net.parameters())
    assert snapshots.affordable(net) == 16
    monkeypatch.setattr(snapshots, "MOST_BYTES", 4 * count * 11)
    assert snapshots.affordable(net) == 11
    monkeypatch.setattr(snapshots, "MOST_BYTES", 4 * count * 7)
    assert snapshots.affordable(net) == 0
    assert posthoc.WORST == 0.12
