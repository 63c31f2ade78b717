"""A scene says what it shows in numbers, its sheet where that is, and its colours are told apart by everybody."""

from itertools import pairwise

import numpy as np
import pytest

from driftback.pictures.layout import ALONE, WIDTH, sheet
from driftback.pictures.palette import DARK, LIGHT, STEPS, colour, from_oklab, oklab
from driftback.pictures.scene import (
    Bars,
    Density,
    Panel,
    Points,
    Scene,
    Tiles,
    around,
    centres,
    squared,
)
from driftback.pictures.strip import side_by_side

EXTENT = (-6.0, 6.0, -3.0, 9.0)


def test_a_density_and_a_histogram_know_their_integrals() -> None:
    x, y = centres(EXTENT, 80).T
    values = np.exp(-(x**2) / 2 - (y - 3) ** 2 / 2) / (2 * np.pi)
    assert abs(Density(values.reshape(80, 80), EXTENT).integral - 1) < 1e-6
    # Only the half with y > 3: cells have areas, also where they are not square.
    half = Density(values.reshape(80, 80)[40:], (-6.0, 6.0, 3.0, 9.0))
    assert abs(half.integral - 0.5) < 1e-6
    heights, edges = np.histogram(np.arange(50), [0, 10, 40, 50], density=True)
    assert abs(Bars(edges, heights).integral - 1) < 1e-12


def test_rows_of_a_grid_run_from_the_bottom() -> None:
    grid = centres((0.0, 4.0, 10.0, 14.0), 2)
    assert grid.tolist() == [[1, 11], [3, 11], [1, 13], [3, 13]]


def test_limits_hold_the_points_but_for_a_few() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 2)) * [1, 5] + [10, 0]
    left, right, bottom, top = around(x)
    inside = (x[:, 0] > left) & (x[:, 0] < right) & (x[:, 1] > bottom) & (x[:, 1] < top)
    assert 0.99 < inside.mean() <= 1
    assert around(np.zeros((3, 2)))[1] > 0
    a, b, c, d = squared((0.0, 2.0, 0.0, 6.0))
    assert (a, b, c, d) == (-2.0, 4.0, 0.0, 6.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_panels_have_room_and_stand_side_by_side(count) -> None:
    panel = Panel((Points(np.zeros((1, 2))),), (-1.0, 1.0, -2.0, 2.0), title="a", names=("x", "y"))
    place = sheet(Scene((panel,) * count, "caption"))
    assert place.width == (ALONE if count == 1 else WIDTH)
    assert place.height % 2 == 0
    ends = [(box.left, box.left + box.width) for box in place.boxes]
    assert ends[-1][1] <= place.width
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    # One unit is as long across as up, so the limits' middle is that of the box, and their top is met exactly.
    corner, middle = place.pixels(panel, 0, np.array([[-2.0, 2.0], [0.0, 0.0]]))
    box = place.boxes[0]
    assert np.allclose(corner, [box.left, box.top])
    assert np.allclose(middle, [box.left + box.width / 2, box.top + box.height / 2])


def test_a_strip_has_a_row_for_each_panel_and_a_column_for_each_moment() -> None:
    def scene(k: int) -> Scene:
        panels = (Panel((Points(np.full((1, 2), k + j / 2)),), (0, 1, 0, 1), "ab"[j]) for j in (0, 1))
        return Scene(tuple(panels), "caption", f"t = {k}")

    strip = side_by_side([scene(k) for k in range(9)])
    assert strip.across == 5
    assert [float(panel.layers[0].x[0, 0]) for panel in strip.panels] == [0, 2, 4, 6, 8, 0.5, 2.5, 4.5, 6.5, 8.5]
    assert [panel.title for panel in strip.panels[:6]] == ["t = 0", "t = 2", "t = 4", "t = 6", "t = 8", ""]
    assert [panel.names[1] for panel in strip.panels] == ["a", "", "", "", "", "b", "", "", "", ""]
    assert len(side_by_side([scene(k) for k in range(3)]).panels) == 6
    tops = {box.top for box in sheet(strip).boxes}
    assert len(tops) == 2


def test_tiles_stand_in_rows_from_the_top() -> None:
    tiles = Tiles(np.zeros((5, 8, 10, 3), np.uint8), 3)
    assert tiles.size == (3 * 11 + 1, 2 * 9 + 1)
    assert [tiles.corner(i) for i in (0, 2, 3)] == [(1, 1), (23, 1), (1, 10)]
    assert Tiles(tiles.pictures, 3, ("a",) * 5).below > 1


# What people without one kind of cone see of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def seen(rgb: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(matrix).T
    linear = linear.clip(0, 1)
    return oklab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", [None, *BLIND])
def test_roles_are_told_apart_by_everybody(palette, eyes) -> None:
    """What may meet on one panel: made points, where they start, what rivals do, and the ground below."""
    pairs = [("made", "start"), ("made", "other"), ("accepted", "rejected"), ("made", "data"), ("start", "other")]
    pairs += [("accepted", "other"), ("accepted", "made"), ("accepted", "start")]
    named = {role: colour(name) for role, name in palette.roles.items()} | {"paper": colour(palette.paper)}
    pairs += [(role, "paper") for role in palette.roles]
    view = (lambda rgb: oklab(rgb[None])[0]) if eyes is None else (lambda rgb: seen(rgb[None], BLIND[eyes])[0])
    for one, two in pairs:
        apart = np.linalg.norm(view(named[one]) - view(named[two]))
        # 0.02 is what can just be seen side by side.
        assert apart > 0.1, (one, two, apart)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_densities_darken_evenly(palette) -> None:
    lab = oklab(palette.ramp)
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert len(lab) == STEPS
    assert steps.max() < 1.05 * steps.min()
    assert len(set(np.sign(np.diff(lab[:, 0])))) == 1, "lightness rises or falls all along"
    assert np.allclose(palette.ramp[[0, -1]], [colour(palette.paper), colour(palette.dense)], atol=1e-6)


def test_oklab_is_ottossons() -> None:
    """His table of pairs in XYZ, and white and red in sRGB as published with CSS Color 4."""
    white, red = oklab(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]))
    assert np.allclose(white, [1, 0, 0], atol=1e-4)
    assert np.allclose(red, [0.62796, 0.22486, 0.12585], atol=1e-4)
    x = np.random.default_rng(0).uniform(size=(20, 3))
    assert np.allclose(from_oklab(oklab(x)), x, atol=1e-6)


def test_a_strip_shows_few_of_many_pictures() -> None:
    tiles = Tiles(np.zeros((36, 8, 8, 3), np.uint8), 6, tuple("abcdef" * 6))
    width, height = tiles.size
    one = Scene((Panel((tiles,), (0, width, 0, height), shape=height / width),), "", "noise / data = 0.25")
    panel = side_by_side([one, one], 2).panels[0]
    (shown,) = panel.layers
    assert (len(shown.pictures), shown.columns, shown.words) == (9, 3, ())
    assert panel.limits == (0, *shown.size[:1], 0, *shown.size[1:])
    assert panel.title == "noise / data =\n0.25"
