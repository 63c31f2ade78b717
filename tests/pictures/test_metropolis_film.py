"""The Metropolis film: its dots are the chain's proposals, accepted or not, and its bars the chain's visits."""

import numpy as np
import pytest
import torch

from driftback.pictures.palette import LIGHT, colour
from driftback.pictures.render import picture
from driftback.pictures.scene import Bars, Curve, Density, Paths, Points
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows import metropolis as film
from driftback.pictures.shows.reached import Smoothed, reached
from driftback.pictures.shows.subject import subject
from driftback.randomness import Rng


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    monkeypatch.setattr(film, "MOVES", 400)


def shown(frames: int, **named) -> list:
    return list(SHOWS["metropolis"].make(Options(frames=frames, **named)).frames)


def layers(scene, kind: type, panel: int = 0) -> list:
    return [layer for layer in scene.panels[panel].layers if isinstance(layer, kind)]


def test_dots_are_what_was_accepted_and_rejected() -> None:
    about = subject("two-gaussians")
    chain, smoothing = film.ran(about, Options())
    assert smoothing == 0
    # Where a move was accepted the chain went where it was proposed to, and else it stayed.
    assert np.array_equal(chain.x[1:][chain.accepted], chain.proposed[chain.accepted])
    assert np.array_equal(chain.x[1:][~chain.accepted], chain.x[:-1][~chain.accepted])
    assert 0.1 < chain.accepted.mean() < 0.6
    scenes = shown(40)
    for k in range(5):  # at first move by move
        rejected, accepted, place = layers(scenes[k], Points)
        assert (rejected.role, accepted.role, place.role) == ("rejected", "accepted", "start")
        assert len(accepted.x) == chain.accepted[:k].sum()
        assert len(rejected.x) == k - chain.accepted[:k].sum()
        assert scenes[k].moment.startswith(f"move {k}, ")
    rejected, accepted, place = layers(scenes[-1], Points)
    assert len(accepted.x) + len(rejected.x) == film.SEEN
    assert np.array_equal(accepted.x, chain.proposed[-film.SEEN :][chain.accepted[-film.SEEN :]])
    assert scenes[-1].moment == f"move 400, {chain.accepted.mean():.0%} accepted"
    assert np.array_equal(place.x, chain.x[-1:])
    trail, gone = layers(scenes[-1], Paths)
    assert np.array_equal(trail.lines[0, -1:], place.x)
    assert np.array_equal(gone.lines[:, 1], rejected.x)
    # On the picture both have their colours.
    image = picture(scenes[-1]).astype(float)
    for role in ("accepted", "rejected"):
        assert (np.abs(image - np.rint(255 * colour(LIGHT.roles[role]))).max(2) < 40).sum() > 30


def test_the_ratio_decides_what_is_accepted() -> None:
    """The chain goes up always, and down as often as min(1, p'/p) says: to 4.5 standard errors."""
    about = subject("two-gaussians")
    chain, _ = film.ran(about, Options(seed=1))
    ratio = torch.exp(
        about.source.log_prob(torch.from_numpy(chain.proposed)) - about.source.log_prob(torch.from_numpy(chain.x[:-1]))
    ).numpy()
    assert chain.accepted[ratio >= 1].all()
    chance = np.minimum(1, ratio)
    assert abs((chain.accepted - chance).sum()) < 4.5 * np.sqrt((chance * (1 - chance)).sum())


def test_the_bars_are_the_visits_and_the_curve_the_density() -> None:
    scene = shown(3)[-1]
    chain, _ = film.ran(subject("two-gaussians"), Options())
    (bars,), (curve,) = layers(scene, Bars, 1), layers(scene, Curve, 1)
    assert bars.integral == pytest.approx(1)
    left = bars.edges[:-1] < 0
    assert (bars.heights * np.diff(bars.edges))[left].sum() == pytest.approx((chain.x[:, 0] < 0).mean(), abs=1e-9)
    exact = sum(np.exp(-2 * (curve.x - side) ** 2) for side in (-2, 2)) / np.sqrt(2 * np.pi)
    assert np.abs(curve.y - exact).max() < 0.01


def test_points_without_a_density_are_smoothed_and_that_is_said(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 2)) * [1, 50]
    np.save(tmp_path / "mine.npy", x)
    scene = shown(2, target=str(tmp_path / "mine.npy"))[-1]
    assert scene.caption == "A Metropolis chain on smoothed points of mine"
    target, width = reached(subject(str(tmp_path / "mine.npy")))
    assert isinstance(target, Smoothed)
    assert width == pytest.approx(64 ** (-1 / 6) / 2)
    # The density that is drawn is the chain's: by its formula, in the units of the points.
    (density,) = layers(scene, Density)
    about = subject(str(tmp_path / "mine.npy"))
    left, right, bottom, top = density.extent
    cells = len(density.values)
    place = np.array([[left + (right - left) * (50 + 0.5) / cells, bottom + (top - bottom) * (45 + 0.5) / cells]])
    log_p = float(target.log_prob(about.inside(torch.from_numpy(place))))
    assert density.values[45, 50] * np.prod(about.scale) == pytest.approx(np.exp(log_p), rel=0.1)
    # The same as a mixture of 64 Gaussians: 1/64 sum N(z; z_i, width^2 I).
    z = about.inside(torch.from_numpy(x))
    apart = (about.inside(torch.from_numpy(place)) - z).square().sum(1)
    assert log_p == pytest.approx(float(torch.exp(-apart / 2 / width**2).mean().log() - np.log(2 * np.pi * width**2)))


def test_a_density_that_is_known_is_not_smoothed() -> None:
    target, width = reached(subject("checkerboard"))
    assert width == 0
    assert reached(subject("checkerboard"), everywhere=True)[1] > 0
    about = subject("checkerboard")
    z = about.sample(5, rng=Rng(1))
    expected = about.known.log_prob(torch.from_numpy(about.outside(z)))
    assert torch.allclose(target.log_prob(z), expected)
