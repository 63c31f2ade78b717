"""The films show what they say: where walks start, that particles follow the density, that two ways share a start."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

import driftback as db
from driftback.distributions.mixture import Mixture
from driftback.pictures.film import write
from driftback.pictures.layout import sheet
from driftback.pictures.palette import LIGHT, colour
from driftback.pictures.render import picture
from driftback.pictures.scene import Density, Paths, Points, Scene, centres
from driftback.pictures.shows import SHOWS, Options
from driftback.pictures.shows.subject import Subject, names, subject
from driftback.pictures.strip import side_by_side
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.randomness import Rng
from driftback.scores.exact import ExactDenoiser

FIRST = ("point-cloud", "random-walk", "forward", "way-back")


def shown(name: str, frames: int = 5, **named) -> list[Scene]:
    return list(SHOWS[name].make(Options(frames=frames, **named)).frames)


def layers(scene: Scene, kind: type, panel: int = 0) -> list:
    return [layer for layer in scene.panels[panel].layers if isinstance(layer, kind)]


def test_the_first_films_are_there_in_the_order_of_the_story() -> None:
    assert [name for name in SHOWS if name in FIRST] == list(FIRST)
    for name, show in SHOWS.items():
        assert show.name == name
        assert "\n" not in show.about + show.source
        assert len(show.about) <= 92
        assert any(part.isdigit() and len(part) == 4 for part in show.source.replace(",", " ").split()), "a year"


def numbers(scene: Scene) -> np.ndarray:
    """All that a scene holds in arrays, in one row."""
    found = [value for panel in scene.panels for layer in panel.layers for value in vars(layer).values()]
    return np.concatenate([value.ravel() for value in found if isinstance(value, np.ndarray)])


LONG = ("ddpm-chain", "memorising", "log-density")


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in SHOWS])
def test_films_are_the_same_for_a_seed_and_other_for_another(name) -> None:
    first, again, other = (numbers(shown(name, 2, seed=seed)[-1]) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", SHOWS)
def test_films_have_as_many_frames_as_they_say_and_their_words_fit(name) -> None:
    film = SHOWS[name].make(Options(frames=3))
    scenes = list(film.frames)
    assert len(scenes) == film.count == 3
    # A letter of the caption is 8 pixels wide at most, on average.
    for scene in scenes:
        assert 8 * (len(scene.caption) + len(scene.moment) + 3) < sheet(scene).width
    for panel in scenes[-1].panels:
        x = np.concatenate([np.empty((0, 2)), *(layer.x for layer in panel.layers if isinstance(layer, Points))])
        left, right, bottom, top = panel.limits
        assert ((x > [left, bottom]) & (x < [right, top])).all(1).sum() >= 0.97 * len(x)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWS)
def test_a_film_is_small(name, tmp_path) -> None:
    told = write(SHOWS[name].make(Options()), tmp_path / "x.gif")
    assert told.size < 2_000_000
    assert 30 <= told.frames <= 120
    assert 500 <= told.width <= 800


def test_walks_start_at_the_red_dots() -> None:
    scenes = shown("random-walk", 4, seed=1)
    start = scenes[0].panels[0].layers[2]
    assert start.role == "start"
    for k, scene in enumerate(scenes):
        (ways,), (here, red) = layers(scene, Paths), layers(scene, Points)
        assert np.array_equal(red.x, start.x)
        assert np.array_equal(ways.lines[:, 0], start.x)
        assert np.array_equal(ways.lines[:, -1], here.x)
        assert ways.lines.shape[1] == 1 + 5 * k
    # On the picture: a disc of red about each start, and none elsewhere.
    scene = scenes[-1]
    image = picture(scene).astype(float)
    rows, columns = np.nonzero(np.abs(image - np.rint(255 * colour(LIGHT.roles["start"]))).max(2) < 12)
    red = np.stack([columns, rows], 1) + 0.5
    places = sheet(scene).pixels(scene.panels[0], 0, start.x)
    apart = np.linalg.norm(red[:, None] - places, axis=2)
    assert apart.min(1).max() < 6
    assert apart.min(0).max() < 3


def test_walks_are_pure_noise_of_one_unit_of_time() -> None:
    """The squared displacement of 14 walks in 2 coordinates is 1 a coordinate, with a standard error of .27."""
    found = []
    for seed in range(12):
        ways = layers(shown("random-walk", 2, seed=seed)[-1], Paths)[0].lines
        found.append(np.square(ways[:, -1] - ways[:, 0]).mean())
    assert abs(np.mean(found) - 1) < 4.5 * np.sqrt(2 / (12 * 28))


@pytest.mark.parametrize("name", ["forward", "way-back"])
def test_densities_are_exact_at_every_time_and_integrate_to_one(name) -> None:
    for scene in shown(name, 4):
        moment = float(scene.moment.split(" = ")[1])
        for panel in (0, 1):
            (density,) = layers(scene, Density, panel)
            assert abs(density.integral - 1) < 0.03, "nearly all of it is inside the limits"
        if name == "forward" and moment == 0:
            # Two Gaussians of deviation 1/2 at -2 and 2: the highest value is 1 / (2 pi / 4) / 2.
            assert density.values.max() == pytest.approx(1 / np.pi, rel=0.02)


@pytest.mark.parametrize("target", ["two-gaussians", "checkerboard"])
def test_particles_follow_the_density(target) -> None:
    """The share of 300 particles in the quarter where x and y are above their means, to 4.5 standard errors of .025."""
    for scene, panel in product(shown("forward", 4, target=target, seed=2), (0, 1)):
        (density,), (particles,) = layers(scene, Density, panel), layers(scene, Points, panel)
        left, right, bottom, top = density.extent
        rows, columns = (np.arange(n) + 0.5 for n in density.values.shape)
        x, y = left + (right - left) * columns / len(columns), bottom + (top - bottom) * rows / len(rows)
        masses = density.values / density.values.sum()
        middle = np.array([(masses.sum(0) * x).sum(), (masses.sum(1) * y).sum()])
        expected = masses[np.ix_(y > middle[1], x > middle[0])].sum()
        assert abs((particles.x > middle).all(1).mean() - expected) < 0.115


def test_pure_noise_and_noise_with_a_pull_differ_in_scale_alone() -> None:
    for scene in shown("forward", 4)[1:]:
        ratio = float(scene.moment.split(" = ")[1])
        free, pulled = (layers(scene, Density, panel)[0] for panel in (0, 1))
        assert pulled.values.max() == pytest.approx(free.values.max() * (1 + ratio**2), rel=0.05)
    # Two have become one: nowhere is there more than in the middle.
    assert free.values[47:49, 47:49].mean() > 0.99 * free.values.max()
    assert shown("forward", 2)[0].panels[0].layers[0].values[47:49, 47:49].max() < 0.01


def test_both_ways_back_have_one_start_and_end_in_the_target() -> None:
    first, *_, last = shown("way-back", 12, seed=1)
    (sde, red), (ode, red_too) = (layers(first, Points, panel) for panel in (0, 1))
    assert np.array_equal(sde.x, ode.x)
    assert np.array_equal(red.x, red_too.x)
    ends = [layers(last, Points, panel)[0].x for panel in (0, 1)]
    assert not np.allclose(ends[0], ends[1], atol=0.1)
    for x in ends:
        # Deviation 1/2 about (-2, 0) or (2, 0), to 4.5 standard errors of 300 draws; both modes are found.
        near = np.minimum(*(np.linalg.norm(x - [side, 0], axis=1) for side in (-2, 2)))
        assert abs(np.square(near).mean() - 0.5) < 4.5 * 0.5 / np.sqrt(300)
        assert 0.35 < (x[:, 0] > 0).mean() < 0.65
    # The SDE's ways are rough, the ODE's smooth: how long they are beside how far they lead.
    rough, smooth = (layers(last, Paths, panel)[0].lines for panel in (0, 1))
    lengths = [np.linalg.norm(np.diff(lines, axis=1), axis=2).sum(1).mean() for lines in (rough, smooth)]
    assert lengths[0] > 4 * lengths[1]


def test_a_cloud_and_its_density_change_places_and_come_back() -> None:
    scenes = shown("point-cloud", 9)
    looks = [[(layers(s, Density, p)[0].alpha, layers(s, Points, p)[0].alpha > 0) for p in (0, 1)] for s in scenes]
    cloud, density = (0.0, True), (1.0, False)
    assert looks[0] == looks[-1] == [cloud, density]
    assert looks[4] == [density, cloud]
    assert [panel.title for panel in scenes[0].panels] == ["a point cloud", "its density"]
    assert [panel.title for panel in scenes[4].panels] == ["its density", "a point cloud"]
    assert layers(scenes[0], Density, 1)[0].integral == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("target", ["rings", "checkerboard", "banana"])
def test_the_density_of_a_shape_is_exact_at_little_noise_too(target) -> None:
    """Against the formula on ten times as many cells each way, blurred."""
    about, fine = subject(target), 960
    left, right, bottom, top = about.limits
    values = np.exp(about.known.log_prob(torch.from_numpy(centres(about.limits, fine))).numpy()).reshape(fine, fine)
    for sigma in (0.02, 0.05, 0.2):
        widths = sigma * about.scale[::-1] * fine / np.array([top - bottom, right - left])
        exact = gaussian_filter(values, widths, mode="constant", truncate=5.0).reshape(96, 10, 96, 10).mean((1, 3))
        found = about.density(1.0, sigma)
        assert np.abs(found.values - exact).max() < 0.06 * exact.max()
        assert found.integral == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("target", ["eight-gaussians", "two-moons", "rings", "pinwheel", "banana"])
def test_a_target_in_the_plane_has_a_density(target) -> None:
    assert target in names()
    about = subject(target)
    assert about.density().integral == pytest.approx(1, abs=0.03)
    assert about.density(0.5, 0.8).integral == pytest.approx(1, abs=0.03)
    assert about.cloud.shape == (4000, 2)


def test_a_recorded_density_is_the_exact_one_to_a_cell() -> None:
    """A mixture that is known as a density only: its masses on cells, noised, against the formula."""
    mixture = subject("two-gaussians")

    class Masked:
        event_shape = (2,)
        sample, log_prob = mixture.source.sample, mixture.source.log_prob

    masked = Subject("x", Masked(), mixture.offset, mixture.scale, Masked())
    assert masked.law is None
    for alpha, sigma in ((0.9, 0.2), (0.3, 0.95)):
        exact, found = (one.density(alpha, sigma, limits=mixture.limits).values for one in (mixture, masked))
        assert np.abs(found - exact).max() < 0.02 * exact.max()


def ordered(x: np.ndarray) -> np.ndarray:
    return x[np.lexsort(x.T)]


def test_a_cloud_of_ones_own_is_shown_in_its_own_units(tmp_path) -> None:
    x = multivariate_normal([170, 70], [[64, 40], [40, 90]]).rvs(500, random_state=0)
    np.savetxt(
        tmp_path / "people.csv", np.column_stack([x, x[:, 0]]), delimiter=",", header="height,weight,z", comments=""
    )
    path = str(tmp_path / "people.csv")
    about = subject(path, ("weight", "height"))
    assert about.names == ("weight", "height")
    assert np.allclose(ordered(about.cloud), ordered(x[:, ::-1]), atol=1e-3)
    assert not about.equal
    z = about.sample(2000, rng=Rng(0)).numpy()
    assert np.abs(z.std(0) - 1).max() < 0.1
    assert np.allclose(about.outside(about.inside(torch.from_numpy(about.cloud))), about.cloud)
    # With noise, the law of a cloud is a mixture of as many round Gaussians.
    law = Mixture(torch.ones(500), about.inside(torch.from_numpy(about.cloud)), torch.zeros(500, 2, 2))
    density = about.density(0.6, 0.8)
    left, right, bottom, top = density.extent
    cells = len(density.values)
    place = np.array([[left + (right - left) * (40 + 0.5) / cells, bottom + (top - bottom) * (52 + 0.5) / cells]])
    exact = float(law.noised(0.6, 0.8).log_prob(about.inside(torch.from_numpy(place))).exp()) / np.prod(about.scale)
    assert density.values[52, 40] == pytest.approx(exact, rel=0.05)
    assert about.density().integral > 0.97, "a histogram of nearly all"
    scenes = shown("way-back", 3, target=path, columns=("0", "1"))
    assert "500 recorded points" in scenes[0].caption
    assert scenes[0].panels[0].names == ("height", "weight")
    assert isinstance(subject("gmm40").denoiser(Diffusion(VP(), (2,))), ExactDenoiser)
    np.save(tmp_path / "plain.npy", x)
    assert np.array_equal(ordered(subject(str(tmp_path / "plain.npy")).cloud), ordered(x))
    many = np.random.default_rng(0).normal(size=(5000, 2))
    np.save(tmp_path / "many.npy", many)
    some = subject(str(tmp_path / "many.npy")).cloud
    assert len(np.unique(some, axis=0)) == len(some) == 4000
    assert set(some[:, 0]) <= set(many[:, 0])


def test_of_a_table_with_words_the_first_two_columns_of_numbers_are_shown(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    rows = [f"p{k},{a:.4f},{b:.4f},{c:.4f}" for k, (a, b, c) in enumerate(x)]
    (tmp_path / "people.csv").write_text("\n".join(["name,height,weight,age", *rows]))
    about = subject(str(tmp_path / "people.csv"))
    assert about.names == ("height", "weight")
    assert np.allclose(ordered(about.cloud), ordered(x[:, :2]), atol=1e-4)
    np.save(tmp_path / "three.npy", x)
    assert np.allclose(ordered(subject(str(tmp_path / "three.npy")).cloud), ordered(x[:, :2]))


def files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "three.npy", rng.normal(size=(20, 3)))
    (folder / "words.csv").write_text("name,height\na,1.5\nb,2.5\nc,3\n")
    np.save(folder / "line.npy", np.column_stack([np.arange(9.0), 3 * np.arange(9.0) + 1]))
    np.save(folder / "flat.npy", np.column_stack([np.arange(9.0), np.ones(9)]))
    np.save(folder / "one.npy", np.arange(9.0)[:, None])
    np.save(folder / "nan.npy", np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 5.0]]))
    np.save(folder / "pictures.npy", rng.integers(0, 9, (20, 8, 8)))


@pytest.mark.parametrize(
    ("target", "columns", "said"),
    [
        ("two-mons", None, "did you mean two-moons"),
        ("funnel", None, r"no cloud in the plane .*10 numbers"),
        ("eight-schools", None, "no cloud in the plane"),
        ("gone.csv", None, "no file or folder gone.csv"),
        ("words.csv", None, "one column|not numbers: 'name'"),
        ("words.csv", ("name", "height"), "not numbers: 'name'"),
        ("three.npy", ("0", "9"), "no column 9"),
        ("three.npy", ("1", "1"), "two different columns, not 1, 1"),
        ("words.csv", ("height", "height"), "two different columns, not height, height"),
        ("one.npy", None, "has one column of numbers"),
        ("nan.npy", None, "NaN"),
        ("flat.npy", None, "on a line"),
        ("line.npy", None, "on a line"),
        ("pictures.npy", None, "holds pictures"),
        ("two-moons", ("x", "y"), "leave --columns out"),
    ],
)
def test_a_target_without_what_a_film_wants_is_told_in_one_line(target, columns, said, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    with pytest.raises(db.BadInput, match=said) as caught:
        SHOWS["forward"].make(Options(target=target, columns=columns))
    assert "\n" not in str(caught.value)


def test_points_again_and_again_are_told_in_one_line(tmp_path) -> None:
    np.save(tmp_path / "same.npy", np.concatenate([np.zeros((2998, 2)), [[1, 0], [0, 1]]]))
    with pytest.raises(db.BadInput, match="same is one point again and again"):
        shown("memorising", 2, target=str(tmp_path / "same.npy"))


def test_rows_that_are_left_out_are_told(tmp_path) -> None:
    (tmp_path / "gaps.csv").write_text("a,b\n1,2\n,3\n4,1\n2,5\n")
    with pytest.warns(UserWarning, match=r"gaps.csv: 1 of 4 rows are left out"):
        subject(str(tmp_path / "gaps.csv"))


def test_columns_of_two_units_fill_every_film(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2)) * [1, 1e5] + [170, 2e5]
    np.save(tmp_path / "units.npy", x)
    for name in ("random-walk", "metropolis", "forward"):
        panel = shown(name, 2, target=str(tmp_path / "units.npy"))[-1].panels[0]
        left, right, bottom, top = panel.limits
        assert not panel.equal
        assert 1e4 < (top - bottom) / (right - left) < 1e6, name


def test_more_frames_than_moves_are_no_trouble() -> None:
    scenes = shown("metropolis", 2003)
    assert len(scenes) == 2003
    assert scenes[-1].moment.startswith("move 2,002, ")


@pytest.mark.parametrize("name", ["metropolis", "ddpm-chain", "race", "log-density", "memorising", "forming"])
def test_what_is_written_on_a_strip_has_room(name) -> None:
    """Lines of the moments above the columns are no longer than a column is wide, 8 pixels a letter at most."""
    strip = side_by_side(shown(name, 3, seed=1), 3)
    place = sheet(replace(strip, columns=3))
    for panel, box in zip(strip.panels, place.boxes, strict=True):
        assert all(7 * len(line) < box.width + 30 for line in panel.title.splitlines())
        assert all(not getattr(layer, "words", ()) for layer in panel.layers)


def test_a_long_name_is_cut(tmp_path) -> None:
    np.save(tmp_path / f"{'survey_' * 9}.npy", np.random.default_rng(0).normal(size=(20, 2)))
    assert subject(str(tmp_path / f"{'survey_' * 9}.npy")).name == "survey_survey_survey_su…"


def test_one_frame_is_no_film() -> None:
    with pytest.raises(db.BadInput, match="frames must be at least 2"):
        Options(frames=1)
