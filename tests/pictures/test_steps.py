"""`steps`: more steps end nearer, up to what real points have, and all samplers begin at one start."""

import numpy as np
import pytest

from driftback.pictures.scene import Curve, Points, Scene
from driftback.pictures.shows import SHOWS, Options, steps
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
    distance, floor = steps._to_the_target(about, 300, Options())
    real = about.source.sample(300, rng=Rng(5)).double().numpy()
    assert distance(real) == pytest.approx(floor, rel=0.8)
    moved = distance(real + np.array([10 * about.scale[0], 0]))
    assert moved == pytest.approx(10 * 2 / np.pi, rel=0.1)
