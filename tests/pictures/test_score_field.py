"""The arrows of the score: where they stand, where they point, and that points follow them into the target."""

import numpy as np
import pytest
import torch

from driftback.pictures.scene import Arrows, Density, Points, centres
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows.score_field import ARROWS
from driftback.pictures.shows.subject import subject


def shown(frames: int, **named) -> list:
    return list(SHOWS["score-field"].make(Options(frames=frames, **named)).frames)


def slope(density: Density) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of the logarithm of a drawn density, by differences, and where it can be told."""
    left, right, _, _ = density.extent
    with np.errstate(divide="ignore"):
        rows, columns = np.gradient(np.log(density.values), (right - left) / len(density.values))
    return np.stack([columns, rows], 2), density.values > 1e-6 * density.values.max()


@pytest.mark.parametrize("target", ["two-gaussians", "two-moons"])
def test_arrows_point_where_the_drawn_density_rises(target) -> None:
    for scene in shown(4, target=target)[:3]:
        density, arrows, _ = scene.panels[0].layers
        assert isinstance(arrows, Arrows)
        assert len(arrows.x) == ARROWS**2
        gradient, told = slope(density)
        left, right, bottom, top = density.extent
        cells = len(density.values)
        middle = arrows.x + arrows.v / 2
        column = ((middle[:, 0] - left) / (right - left) * cells).astype(int)
        row = ((middle[:, 1] - bottom) / (top - bottom) * cells).astype(int)
        expected, usable = gradient[row, column], told[row, column]
        steep = np.linalg.norm(expected, axis=1)
        usable &= steep > np.quantile(steep[usable], 0.2)
        assert usable.sum() > 60
        long = np.linalg.norm(arrows.v, axis=1)
        cosine = (expected * arrows.v).sum(1)[usable] / (steep * long)[usable]
        assert np.median(cosine) > 0.995
        assert np.quantile(cosine, 0.05) > 0.9
        # The steeper, the longer, and none leaves its cell.
        assert np.corrcoef(np.argsort(np.argsort(steep[usable])), np.argsort(np.argsort(long[usable])))[0, 1] > 0.9
        assert long.max() <= (right - left) / ARROWS
        assert np.allclose(middle, centres(density.extent, ARROWS))


def test_an_arrow_is_sigma_times_the_score() -> None:
    """Of two Gaussians with noise, by their formula: r / sqrt(1 + r^2) of a cell for r = sigma |score|."""
    scene = shown(3)[1]
    density, arrows, _ = scene.panels[0].layers
    t = torch.tensor(float(scene.moment.removeprefix("t = ")), dtype=torch.float64)
    kept = torch.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2)  # the variance-preserving schedule from .1 to 20
    about = subject("two-gaussians")
    law = about.law.noised(float(kept), float((1 - kept**2).sqrt()))
    z = about.inside(torch.from_numpy(arrows.x + arrows.v / 2))
    r = float((1 - kept**2).sqrt()) * law.score(z).norm(dim=1).numpy()
    cell = (density.extent[1] - density.extent[0]) / ARROWS
    assert np.allclose(np.linalg.norm(arrows.v, axis=1), cell * r / np.sqrt(1 + r**2), atol=0.03 * cell)


def test_points_follow_the_score_into_the_target() -> None:
    x = next(layer for layer in shown(2)[-1].panels[0].layers if isinstance(layer, Points)).x
    near = np.minimum(*(np.linalg.norm(x - [side, 0], axis=1) for side in (-2, 2)))
    # Deviation 1/2 and the noise that is left about (-2, 0) or (2, 0), to 4.5 standard errors of 120 draws.
    assert abs(np.square(near).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(120) + 0.05


def test_arrows_of_other_units_are_drawn_within_their_cells(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 2)) * [1, 1000] + [0, 5000]
    np.save(tmp_path / "x.npy", x)
    scene = shown(2, target=str(tmp_path / "x.npy"))[0]
    left, right, bottom, top = scene.panels[0].limits
    arrows = scene.panels[0].layers[1]
    assert (np.abs(arrows.v) <= np.array([right - left, top - bottom]) / ARROWS).all()
    assert np.abs(arrows.v[:, 1]).max() > 100
