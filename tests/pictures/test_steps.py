"""`steps`: more steps end nearer, up to what real points have, and all samplers begin at one start."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from driftback.pictures.scene import Curve, Points, Scene
from driftback.pictures.shows import SHOWS, Options, steps
from driftback.pictures.shows.apart import apart
from driftback.pictures.shows.subject import subject
from driftback.randomness import Rng


def shown(**named) -> list[Scene]:
    return list(SHOWS["steps"].make(Options(**named)).frames)


def test_numbers_of_steps_rise_from_one() -> None:
    for count, most in ((2, 64), (9, 64), (32, 64), (5, 3)):
        found = steps.numbers_of_steps(count, most)
        assert len(found) == count
        assert found[0] == 1
        assert found[-1] == max(most, count)
        assert (np.diff(found) > 0).all()
    assert steps.numbers_of_steps(7, 64) == [1, 2, 4, 8, 16, 32, 64]


def test_distances_fall_to_the_floor_with_the_evaluations(monkeypatch) -> None:
    monkeypatch.setattr(steps, "MOST", 64)
    scenes = shown(frames=7)
    assert [scene.moment for scene in scenes] == ["1 step", *(f"{2**k} steps" for k in range(1, 7))]
    floor, *curves = [layer for layer in scenes[-1].panels[3].layers if isinstance(layer, Curve)]
    level = floor.y[0]
    assert len({*floor.y}) == 1
    for (name, _, role), curve in zip(steps.SHOWING, curves, strict=True):
        assert curve.role == role
        evaluations = 10**curve.x
        # Heun's last step, into no noise, is Euler's.
        per_step = 2 if name == "heun" else 1
        assert evaluations == pytest.approx([per_step * 2**k - (per_step - 1) for k in range(7)])
        assert curve.y[0] > level + 1, "one step ends at the mean"
        assert (np.diff(curve.y[3:]) < 0.05).all()
        assert abs(curve.y[-1] - level) < 0.3
    assert curves[0].y[0] == pytest.approx(curves[1].y[0])
    # One curve grows by a point a frame, and stays what it was.
    for k, scene in enumerate(scenes):
        again = [layer for layer in scene.panels[3].layers if isinstance(layer, Curve)][1:]
        assert all(np.array_equal(one.y, whole.y[: k + 1]) for one, whole in zip(again, curves, strict=True))


def test_the_cloud_of_one_step_is_the_mean_for_all_samplers() -> None:
    first = shown(frames=2)[0]
    clouds = [[layer for layer in panel.layers if isinstance(layer, Points)][1].x for panel in first.panels[:3]]
    about = subject("eight-gaussians")
    for x in clouds:
        assert np.allclose(x, clouds[0])
        assert np.abs(x - about.cloud.mean(0)).max() < 0.3 * about.scale.max()


def test_the_distance_is_the_one_it_says_it_is() -> None:
    """Points moved by d along an axis are d times the mean of |cos| away, 2 / pi, in deviations of the target."""
    about = subject("eight-gaussians")
    x, y = about.sample(300, rng=Rng(5)), about.sample(2400, rng=Rng(6))
    assert 0.01 < apart(x, y) < 0.15
    assert apart(x + torch.tensor([10.0, 0.0]), y) == pytest.approx(10 * 2 / np.pi, rel=0.1)
    exact = [wasserstein_distance((x @ line).numpy(), (y @ line).numpy()) for line in lines()]
    assert apart(x, y) == pytest.approx(np.mean(exact))


def lines() -> list[torch.Tensor]:
    turn = np.pi * (np.arange(32) + 0.5) / 32
    return [torch.tensor([np.cos(one), np.sin(one)]) for one in turn]


def test_the_floor_is_that_of_fresh_draws(monkeypatch) -> None:
    monkeypatch.setattr(steps, "MOST", 2)
    level = shown(frames=2)[0].panels[3].layers[0].y[0]
    about = subject("eight-gaussians")
    fresh = [apart(about.sample(300, rng=Rng(k)), about.sample(2400, rng=Rng(100 + k))) for k in range(8)]
    assert level == pytest.approx(np.log10(np.mean(fresh)), abs=0.15)


def test_a_file_that_is_sorted_is_shown_whole_and_reached(tmp_path, monkeypatch) -> None:
    """Points of a file are taken in no order, and the floor is that of the law whose score is followed."""
    monkeypatch.setattr(steps, "MOST", 32)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(1000, 2)) * 0.3 + [side, 0] for side in (-2, 2)]) * [1, 1000]
    np.save(tmp_path / "sorted.npy", x)
    last = shown(frames=4, target=str(tmp_path / "sorted.npy"))[-1]
    grey, made = last.panels[2].layers
    assert 0.4 < (grey.x[:, 0] > 0).mean() < 0.6
    assert 0.3 < (made.x[:, 0] > 0).mean() < 0.7
    floor, *curves = [layer for layer in last.panels[3].layers if isinstance(layer, Curve)]
    assert curves[2].y[-1] < floor.y[0] + 0.35
