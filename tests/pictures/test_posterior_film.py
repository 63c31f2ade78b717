"""`posterior`: one start, two ways, of which the second ends where the observation and the target agree."""

import numpy as np
import pytest
import torch

from driftback.pictures.scene import Curve, Density, Points
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows.posterior import NOISE, SEEN, given
from driftback.pictures.shows.subject import Subject, subject
from driftback.randomness import Rng


def layers(scene, kind: type, panel: int) -> list:
    return [layer for layer in scene.panels[panel].layers if isinstance(layer, kind)]


def test_both_begin_together_and_one_ends_on_the_line_by_the_exact_weights() -> None:
    first, *_, last = SHOWS["posterior"].make(Options(frames=4, seed=1)).frames
    assert np.array_equal(layers(first, Points, 0)[0].x, layers(first, Points, 1)[0].x)
    about = subject("two-gaussians")
    z = about.inside(torch.from_numpy(layers(last, Points, 1)[0].x)).numpy()
    along = z @ np.full(2, 0.5**0.5)
    # The law by Bayes on a fine grid.
    side = np.linspace(-4, 4, 801)
    x, y = np.meshgrid(side, side)
    grid = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1))
    apart = (grid.numpy() @ np.full(2, 0.5**0.5) - SEEN) / NOISE
    p = np.exp(about.law.log_prob(grid).numpy() - apart**2 / 2)
    p /= p.sum()
    for found, exact in ((along, grid.numpy() @ np.full(2, 0.5**0.5)), (z[:, 0], grid.numpy()[:, 0])):
        mean = (p * exact).sum()
        assert abs(found.mean() - mean) < 4.5 * np.sqrt((p * (exact - mean) ** 2).sum() / len(z))
    assert abs((z[:, 0] > 0).mean() - p[grid.numpy()[:, 0] > 0].sum()) < 4.5 * 0.5 / np.sqrt(len(z))
    free = about.inside(torch.from_numpy(layers(last, Points, 0)[0].x)).numpy()
    assert (free @ np.full(2, 0.5**0.5)).std() > 3 * along.std()
    for panel in (0, 1):
        assert layers(last, Density, panel)[0].integral == pytest.approx(1, abs=0.03)
    (line,) = layers(last, Curve, 1)
    ends = about.inside(torch.from_numpy(np.stack([line.x, line.y], 1))).numpy() @ np.full(2, 0.5**0.5)
    assert np.allclose(ends, SEEN)


def test_recorded_points_are_weighed_as_a_mixture_is() -> None:
    about = subject("two-gaussians")

    class Masked:
        event_shape = (2,)
        sample = about.source.sample

    recorded = given(Subject("x", Masked(), about.offset, about.scale), Rng(0))
    exact = given(about, Rng(0))
    few, many = recorded.inside(torch.from_numpy(recorded.cloud)), exact.sample(4000, rng=Rng(1))
    # 4,000 points, of which some 600 explain what is seen.
    assert (few.mean(0) - many.mean(0)).abs().max() < 4.5 / 600**0.5
    assert (few.std(0) - many.std(0)).abs().max() < 0.15
