"""The ink is where the numbers say: each kind of layer is drawn, and its pixels are looked at."""

import numpy as np
import pytest
from matplotlib import rc_context

from driftback.pictures.layers import arrow_shapes
from driftback.pictures.layout import sheet
from driftback.pictures.palette import PALETTES, colour
from driftback.pictures.render import picture, pixels, svg
from driftback.pictures.scene import (
    Arrows,
    Bars,
    Curve,
    Density,
    Layer,
    Panel,
    Paths,
    Points,
    Scene,
    Tiles,
    centres,
)

LIMITS = (-2.0, 2.0, -2.0, 2.0)


def alone(*layers: Layer, **named) -> Scene:
    return Scene((Panel(layers, LIMITS, **named),))


def of(image: np.ndarray, role: str, *, dark: bool = False, near: int = 40) -> np.ndarray:
    """Where the pixels (x, y) of a role's colour are."""
    wanted = np.rint(255 * colour(PALETTES[dark].roles[role]))
    rows, columns = np.nonzero((np.abs(image.astype(float) - wanted).max(2)) < near)
    return np.stack([columns, rows], 1) + 0.5


def inside(scene: Scene, ink: np.ndarray) -> np.ndarray:
    box = sheet(scene).boxes[0]
    return ink[(ink > [box.left + 2, box.top + 2]).all(1) & (ink < [box.left + box.width, box.top + box.height]).all(1)]


@pytest.mark.parametrize("dark", [False, True])
def test_points_are_where_they_are(dark) -> None:
    x = np.array([[-1.5, 1.0], [0.0, 0.0], [1.2, -1.7]])
    scene = alone(Points(x, "made", 6.0, 1.0), Points(x[:1] + 0.8, "start", 6.0, 1.0))
    image = picture(scene, dark=dark)
    where = sheet(scene).pixels(scene.panels[0], 0, x)
    made = inside(scene, of(image, "made", dark=dark))
    apart = np.linalg.norm(made[:, None] - where, axis=2)
    assert apart.min(1).max() < 6, "there is no ink elsewhere"
    # A disc 6 points wide has 6 * 100 / 72 = 8.3 pixels across, 54 in all.
    assert all(35 < (apart.argmin(1) == k).sum() < 75 for k in range(3))
    start = inside(scene, of(image, "start", dark=dark))
    assert np.abs(start.mean(0) - sheet(scene).pixels(scene.panels[0], 0, x[:1] + 0.8)[0]).max() < 1


def test_a_density_is_densest_where_it_is_highest_and_upright() -> None:
    x, y = centres(LIMITS, 40).T
    values = np.exp(-((x - 1) ** 2 + (y - 0.5) ** 2) / 0.1)
    scene = alone(Density(values.reshape(40, 40), LIMITS))
    image = picture(scene).astype(float)
    box = sheet(scene).boxes[0]
    cut = image[box.top + 3 : box.top + box.height - 3, box.left + 3 : box.left + box.width - 3]
    rows, columns = np.nonzero(cut[..., 2] <= cut[..., 2].min() + 1)
    dark = np.array([columns.mean() + box.left + 3, rows.mean() + box.top + 3])
    assert np.abs(dark - sheet(scene).pixels(scene.panels[0], 0, np.array([[1.0, 0.5]]))[0]).max() < 4
    assert np.abs(cut[..., 2].min() - 255 * colour(PALETTES[False].dense)[2]) < 12
    faint = picture(alone(Density(values.reshape(40, 40), LIMITS, peak=4.0))).astype(float)
    inner = faint[box.top + 3 : box.top + box.height - 3, box.left + 3 : box.left + box.width - 3]
    assert inner[..., 2].min() > cut[..., 2].min() + 100, "a peak of 4 leaves a quarter of the colour"
    assert (picture(alone(Density(np.zeros((4, 4)), LIMITS)))[200:210, 200:210] == 255).all()


def test_paths_and_curves_go_along_their_corners() -> None:
    line = np.array([[-1.5, -1.5], [0.0, 1.0], [1.5, -1.0]])
    for layer in (Paths(line[None], "made", 1.5, 1.0), Curve(line[:, 0], line[:, 1], "made")):
        scene = alone(layer)
        ink = inside(scene, of(picture(scene), "made"))
        middle = sheet(scene).pixels(scene.panels[0], 0, (line[1:] + line[:-1]) / 2)
        for place in (*middle, *sheet(scene).pixels(scene.panels[0], 0, line)):
            assert np.linalg.norm(ink - place, axis=1).min() < 3
        assert len(ink) < 3000


def test_arrows_point_along_and_are_as_long_as_they_say() -> None:
    shapes = arrow_shapes(np.array([[1.0, 1.0]]), np.array([[2.0, 0.0]]))[0]
    assert shapes[3].tolist() == [3.0, 1.0]
    assert shapes[:, 0].min() == 1.0
    assert np.allclose(np.sort(shapes[:, 1]) + np.sort(shapes[:, 1])[::-1], 2.0), "alike on both sides"
    scene = alone(Arrows(np.array([[-1.0, 0.0]]), np.array([[2.0, 0.0]]), "made", 1.0))
    ink = inside(scene, of(picture(scene), "made"))
    ends = sheet(scene).pixels(scene.panels[0], 0, np.array([[-1.0, 0.0], [1.0, 0.0]]))
    assert np.abs([ink[:, 0].min() - ends[0, 0], ink[:, 0].max() - ends[1, 0]]).max() < 8
    # The head is at the end, and wider than the shaft.
    wide = [np.ptp(ink[np.abs(ink[:, 0] - place) < 2][:, 1]) for place in (ends[0, 0] + 20, ends[1, 0] - 70)]
    assert wide[1] > 2 * wide[0]


def test_bars_are_as_high_as_they_are() -> None:
    bars = Bars(np.array([0.0, 1.0, 2.0]), np.array([0.25, 0.75]), "made", 1.0)
    scene = Scene((Panel((bars,), (0.0, 2.0, 0.0, 1.0), equal=False, shape=0.5),))
    ink = inside(scene, of(picture(scene), "made"))
    box = sheet(scene).boxes[0]
    for place, high in ((0.5, 0.25), (1.5, 0.75)):
        column = ink[np.abs(ink[:, 0] - (box.left + box.width * place / 2)) < 1]
        assert abs((box.top + box.height - column[:, 1].min()) / box.height - high) < 0.02
    assert box.height == round(box.width / 2)


@pytest.mark.parametrize("words", [(), ("red", "", "a boot", "x")])
def test_tiles_are_in_their_places_with_their_words_below(words) -> None:
    pictures = np.zeros((4, 6, 6, 3), np.uint8)
    pictures[:, :, :, 0] = [[[60]], [[120]], [[180]], [[240]]]
    tiles = Tiles(pictures, 2, words)
    width, height = tiles.size
    panel = Panel((tiles,), (0, width, 0, height), shape=height / width, frame=False, numbers=False)
    scene = Scene((panel,))
    image = picture(scene)
    for i, red in enumerate((60, 120, 180, 240)):
        left, top = tiles.corner(i)
        column, row = sheet(scene).pixels(panel, 0, np.array([[left + 3.0, height - top - 3.0]]))[0].astype(int)
        assert image[row, column].tolist() == [red, 0, 0]
        ends = sheet(scene).pixels(panel, 0, np.array([[left, height - top - 6.1], [left + 6.0, height - top - 7.3]]))
        (a, b), (c, d) = ends.astype(int)
        ink = int((image[b + 1 : d, a:c].max(2) < 120).sum()) if words else 0
        assert (ink > 5) == bool(words and words[i])


def test_words_are_written_and_the_moment_moves() -> None:
    scene = Scene((Panel((), LIMITS, "title", ("across", "up")),), "a caption", "t = 1")
    image = picture(scene)
    box = sheet(scene).boxes[0]
    parts = (
        image[: box.top - 2],
        image[-26:, :150],
        image[-26:, -80:],
        image[100:-100, :28],
        image[box.top + box.height + 22 :],
    )
    assert all((part.min(2) < 120).sum() > 12 for part in parts)
    assert (picture(Scene((Panel((), LIMITS),)))[:8] == 255).all()


def two(shift: float) -> Scene:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20 + int(10 * shift), 2)) + shift
    faded = 0.8 - 0.3 * shift
    dots, below = Points(x, size=3 + shift, alpha=faded), Density(rng.uniform(size=(8, 8)), LIMITS, faded)
    left = Panel((below, dots), (-2 - shift, 2, -2, 2), "left")
    right = Panel(
        (Paths(x[None, : 3 + int(shift)]), Arrows(x[:4], x[4:8]), Bars(np.arange(4.0), x[:3, 0] ** 2)), LIMITS
    )
    tiles = Tiles(rng.integers(0, 255, (3, 5, 5, 3)).astype(np.uint8), 3, ("a", "b", "c"))
    return Scene((left, right, Panel((tiles, Curve(x[:5, 0], x[:5, 1])), LIMITS)), "caption", f"t = {shift}")


@pytest.mark.parametrize("dark", [False, True])
def test_a_frame_is_the_same_alone_and_in_a_film(dark) -> None:
    """What is kept from frame to frame leaves no trace, whatever changes: numbers, how many there are, and limits."""
    scenes = [two(0.0), two(1.5), alone(Points(np.zeros((1, 2))))]
    shots = list(pixels(scenes, dark=dark))
    for scene, shot in zip(scenes, shots, strict=True):
        assert np.array_equal(shot, picture(scene, dark=dark))
    assert not np.array_equal(shots[0], shots[1])


def test_a_persons_own_settings_change_nothing_and_stay() -> None:
    usual, drawn = picture(two(0.0)), svg(two(0.0))
    with rc_context({"axes.facecolor": "red", "font.size": 30, "image.origin": "lower", "lines.marker": "x"}) as _:
        from matplotlib import rcParams

        frames = pixels([two(0.0), two(1.0)])
        assert np.array_equal(next(frames), usual)
        assert rcParams["font.size"] == 30, "a film that is half drawn has not taken them away"
        assert svg(two(0.0)) == drawn


def test_svg_is_made_of_outlines_and_has_no_date() -> None:
    text = svg(two(0.0)).decode()
    assert text.startswith("<?xml")
    assert "<dc:date>" not in text
    assert "font-family" not in text
    assert 'width="518.4pt"' in text, "720 pixels at 100 to the inch"
    assert PALETTES[False].roles["made"] in text


def test_the_head_of_an_arrow_is_upright_where_units_differ() -> None:
    """A thousand units up are as long on the picture as one across: both arrows have one shape, turned."""
    wide = []
    for v in ([0.0, 1000.0], [1.0, 0.0]):
        arrow = Arrows(np.zeros((1, 2)), np.array([v]), "made", 1.0)
        scene = Scene((Panel((arrow,), (-1, 1, -1000, 1000), equal=False),))
        wide.append(np.ptp(inside(scene, of(picture(scene), "made")), axis=0))
    assert np.abs(wide[0] - wide[1][::-1]).max() < 3
    assert wide[0][0] > 20


def written(caption: str, moment: str) -> np.ndarray:
    """Where the ink of what stands below is, from the left."""
    scene = Scene((Panel((), LIMITS, "costs $5 to $6^{", ("$x", "$y$"), numbers=False),), caption, moment)
    image = picture(scene)
    foot = image[-sheet(scene).foot :]
    return np.nonzero((foot < 120).all(2).any(0))[0]


def test_a_dollar_is_a_dollar_and_long_captions_stay_before_the_moment() -> None:
    short, moment, both = (
        written("costs $x^{$ then", ""),
        written("", "t = 0.25"),
        written("many words " * 30, "t = 0.25"),
    )
    assert len(short) > 20
    begins = moment.min()
    assert both.max() == moment.max()
    gap = np.diff(both)
    assert gap.max() >= 10, "there is room between the two"
    assert both[: gap.argmax() + 1].max() < begins
    assert both.min() > 5


def test_dots_are_smaller_on_small_panels() -> None:
    panel = Panel((Points(np.zeros((1, 2)), "made", 6.0, 1.0),), LIMITS, numbers=False)
    large, small = (len(of(picture(Scene((panel,) * n, columns=n)), "made")) / n for n in (1, 6))
    assert 0.15 < small / large < 0.75


def test_a_caption_is_as_large_in_every_frame_and_alone() -> None:
    """Its ink is the same while the moment becomes longer, and as in a still of the same scene."""
    panel = Panel((), LIMITS, numbers=False)
    scenes = [Scene((panel,), "words " * 14, f"t = {'1' * k}") for k in (1, 9, 4)]
    shots = [shot[-sheet(scenes[0]).foot :, :300] for shot in pixels(scenes)]
    assert np.array_equal(shots[0], shots[1])
    assert np.array_equal(shots[0], shots[2])
    assert np.array_equal(picture(scenes[2]), [*pixels(scenes)][2])
    short = Scene((panel,), "few words", "t = 1")
    assert np.array_equal(picture(short), [*pixels([*scenes, short])][3]), "also after one that was too long"
    assert np.array_equal(picture(Scene((panel,), "a\tb\nc")), picture(Scene((panel,), "a b c")))
