"""Whatever a sampler yields can be filmed, in the units of its data, and no more of it is held than is shown."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import driftback as db
from driftback.data.buckets import Buckets
from driftback.data.dataset import Dataset
from driftback.data.preprocessing import Preprocessing
from driftback.pictures.filmed import camera, scenes, thinned
from driftback.pictures.scene import Bars, Points, Tiles
from driftback.pictures.way import Way
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM, VP
from driftback.randomness import Rng
from driftback.samplers.frame import Frame

RNG = np.random.default_rng(0)


def bare(n: int = 30, d: int = 2, count: int = 4, **named) -> Iterator[Frame]:
    x = torch.from_numpy(RNG.normal(size=(n, d) if d else (n,)))
    yield from (Frame(1 - k / (count - 1), x * (1 + k), **named) for k in range(count))


def way(x: np.ndarray, event: tuple[int, ...], **named) -> Way:
    """Frames that end in the data `x` (n, *event), under EDM's process, whose x_1 is 80 times as wide as they."""
    prepared = Preprocessing.fit(Dataset(x, kind="pictures" if len(event) > 1 else "points", **named.pop("about", {})))
    process = Diffusion(EDM(), prepared.internal_event)
    z = prepared.encode(x)

    def frames() -> Iterator[Frame]:
        for t in (1.0, 0.5, 0.01, 0.0):
            yield Frame(t, process.forward(z, t, rng=Rng(0)))

    return Way(frames(), prepared, process, **named)


@pytest.mark.parametrize("count", [2, 3, 9, 10, 11, 57, 200])
def test_a_stream_is_thinned_evenly(count) -> None:
    kept = [one.t for one in thinned((Frame(float(k), torch.zeros(1)) for k in range(count)), 10, lambda frame: frame)]
    assert len(kept) == min(count, len(kept)) <= 10
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert len(kept) >= min(count, 6)
    steps = set(np.diff(kept)[:-1]) or {kept[-1]}
    assert len(steps) == 1
    assert np.diff(kept)[-1] <= max(steps)
    if count <= 9:
        assert kept == list(range(count))


def test_a_long_chain_is_not_held_in_memory() -> None:
    alive: list[weakref.ref] = []
    most = 0

    def chain() -> Iterator[Frame]:
        nonlocal most
        for k in range(300):
            x = torch.zeros(2, 2) + k
            alive.append(weakref.ref(x))
            yield Frame(float(k), x)
            del x
            most = max(most, sum(one() is not None for one in alive))

    shown = list(scenes(chain(), most=8))
    assert len(shown) <= 8
    assert most <= 10
    assert shown[-1].moment == "t = 299"


def test_points_are_shown_as_they_are() -> None:
    frames = list(bare())
    shown = list(scenes(iter(frames), caption="a chain"))
    assert [scene.moment for scene in shown] == ["t = 1", "t = 0.667", "t = 0.333", "t = 0"]
    assert {scene.caption for scene in shown} == {"a chain"}
    for frame, scene in zip(frames, shown, strict=True):
        (layer,) = scene.panels[0].layers
        assert isinstance(layer, Points)
        assert np.array_equal(layer.x, frame.x.numpy())
        left, right, bottom, top = scene.panels[0].limits
        inside = (layer.x > [left, bottom]).all(1) & (layer.x < [right, top]).all(1)
        assert inside.mean() > 0.9


def test_the_axes_stand_still_unless_the_cloud_changes_much() -> None:
    x = RNG.normal(size=(200, 2))
    assert len(set(camera([x, 2 * x], square=True))) == 1
    wide, narrow = camera([80 * x, x], square=True)
    assert wide[1] - wide[0] > 50 * (narrow[1] - narrow[0])
    assert wide[1] - wide[0] == pytest.approx(wide[3] - wide[2])
    own = camera([x * [1, 1000]], square=False)[0]
    assert own[3] - own[2] > 500 * (own[1] - own[0])


@pytest.mark.parametrize("d", [0, 1])
def test_one_number_is_a_histogram_that_integrates_to_one(d) -> None:
    for scene in scenes(bare(500, d)):
        (bars,) = scene.panels[0].layers
        assert isinstance(bars, Bars)
        # Limits leave out 2 in 1,000 at each end at most, and there is room for nearly all of these.
        assert 0.985 < bars.integral <= 1 + 1e-9
        assert scene.panels[0].limits[3] > bars.heights.max()


def test_columns_are_chosen_by_name_and_number() -> None:
    x = RNG.normal(size=(40, 3)) * [1, 10, 100] + [0, 50, 7]
    about = {"columns": ("age", "height", "pay")}

    def last(columns) -> tuple[np.ndarray, tuple[str, str]]:
        *_, scene = scenes(way(x, (3,), about=about), columns=columns)
        return scene.panels[0].layers[0].x, scene.panels[0].names

    for asked, picked, names in (
        (None, [0, 1], ("age", "height")),
        (("pay", "age"), [2, 0], ("pay", "age")),
        ((2, "height"), [2, 1], ("pay", "height")),
        (("0", "2"), [0, 2], ("age", "pay")),
    ):
        shown, told = last(asked)
        assert np.allclose(shown, x[:, picked], atol=1e-2), "in the units of the data"
        assert told == names
    *_, one = scenes(way(x, (3,), about=about), columns=("pay",))
    assert isinstance(one.panels[0].layers[0], Bars)
    for wrong, said in (
        (("wage",), "no column wage"),
        ((0, 0), "two different"),
        ((0, 1, 2), "two different"),
        ((3, 0), "3"),
    ):
        with pytest.raises(db.BadInput, match=said):
            last(wrong)


def test_what_a_chain_rejected_is_told_apart() -> None:
    accepted = torch.arange(30) % 3 == 0
    *_, scene = scenes(bare(accepted=accepted))
    rejected, kept = scene.panels[0].layers
    assert (rejected.role, kept.role) == ("rejected", "accepted")
    assert (len(rejected.x), len(kept.x)) == (20, 10)


def test_pictures_form_from_noise_with_their_words_below() -> None:
    x = RNG.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    shown = list(scenes(way(x, (6, 6, 3), words=("cat", "a very long caption", "", "x", "y"))))
    tiles = [scene.panels[0].layers[0] for scene in shown]
    assert all(isinstance(one, Tiles) for one in tiles)
    assert np.array_equal(tiles[-1].pictures, x)
    assert tiles[0].words == ("cat", "a very long…", "", "x", "y")
    assert tiles[0].columns == 3
    # Noise 80 times as wide as the data, shrunk to the data's deviation, is grey, not only black and white.
    extreme = np.isin(tiles[0].pictures, [0, 255]).mean()
    assert extreme < 0.5, "without shrinking it is .99"
    assert tiles[0].pictures.std() > 40


@pytest.mark.parametrize("event", [(8, 8), (1, 8, 8), (8, 8, 4)])
def test_pictures_of_any_layout_are_tiles(event) -> None:
    x = RNG.integers(0, 17, (2, *event)).astype(float)
    *_, scene = scenes(way(x, event))
    assert scene.panels[0].layers[0].pictures.shape == (2, 8, 8, 3)


def test_pictures_in_buckets_are_white_outside() -> None:
    x = np.zeros((2, 8, 8), np.uint8)
    x[0, 2:6] = 200
    x[1, :, 2:6] = RNG.integers(1, 255, (8, 4))
    about = {"buckets": Buckets(shapes=((4, 8), (8, 4)))}
    shown = list(scenes(way(x, (8, 8), about=about, bucket=np.array([0, 1]))))
    for scene in shown:
        pictures = scene.panels[0].layers[0].pictures
        assert (pictures[0, :2] == 255).all()
        assert (pictures[0, 6:] == 255).all()
        assert (pictures[1, :, :2] == 255).all()
        assert (pictures[1, :, 2:6] != 255).any()


def test_a_way_is_an_iterator_like_any_other() -> None:
    frames = way(RNG.normal(size=(3, 2)), (2,))
    assert next(frames).t == 1.0
    assert [frame.t for frame in frames] == [0.5, 0.01, 0.0]
    with pytest.raises(StopIteration):
        next(frames)


def test_the_front_door_writes_what_it_is_asked(tmp_path: Path) -> None:
    told = db.film(bare(), tmp_path / "x.gif", seconds=0.2, hold=1.0)
    assert (told.frames, told.plays) == (4, pytest.approx(1.6))
    with Image.open(tmp_path / "x.gif") as image:
        assert image.n_frames == 4
    first = (tmp_path / "x.gif").read_bytes()
    again = Diffusion(VP(), (2,)).simple.sample(20, rng=0)
    frames = [Frame(1.0, again), Frame(0.0, again / 2)]
    assert db.film(iter(frames), tmp_path / "a.png", strip=True).frames == 1
    db.film(iter(frames), tmp_path / "b.png", strip=True)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "x.gif").read_bytes() == first


@pytest.mark.parametrize(
    ("frames", "options", "said"),
    [
        (lambda: iter([]), {}, "no frames"),
        (bare, {"most": 1}, "most"),
        (bare, {"seconds": 0.0}, "seconds"),
        (bare, {"seconds": 1e9}, "seconds must be 0.02 to 600"),
        (bare, {"hold": 1e4}, "hold 0 to 600"),
        (lambda: iter([Frame(0.5, torch.zeros(()))]), {}, "no points at t = 0.5"),
        (lambda: bare(count=9), {"seconds": 100.0, "hold": 600.0}, "a .gif counts to 655 seconds"),
        (lambda: np.zeros((3, 2)), {}, r"model.frames\(64\) yields them, and a ndarray is none"),
        (lambda: 7, {}, "an int has none"),
        (lambda: iter([Frame(0.5, torch.zeros(0, 2))]), {}, "no points at t = 0.5"),
        (lambda: iter([Frame(0.5, torch.zeros(5, 0))]), {}, "no points at t = 0.5"),
        (lambda: iter([Frame(0.5, torch.zeros(5, 2, dtype=torch.complex64))]), {}, "complex"),
        (bare, {"columns": ("x7",)}, "no column x7"),
        (lambda: bare(d=0, count=2), {"columns": (1,)}, "no column 1"),
        (lambda: iter([Frame(0.5, torch.full((2, 2), float("nan")))]), {}, r"not finite at t = 0\.5"),
        (
            lambda: way(np.arange(32).reshape(2, 4, 4), (4, 4)),
            {"columns": (0, 1)},
            "these are pictures",
        ),
    ],
)
def test_what_cannot_be_filmed_is_told_in_one_line(frames, options, said, tmp_path) -> None:
    with pytest.raises(db.BadInput, match=said) as caught:
        db.film(frames(), tmp_path / "x.gif", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_points_of_few_digits_are_shown(tmp_path) -> None:
    frames = [Frame(t, torch.ones(4, 2, dtype=torch.bfloat16) * (1 + torch.arange(4)[:, None])) for t in (1.0, 0.0)]
    assert db.film(iter(frames), tmp_path / "x.gif").frames == 2
    with pytest.raises(db.BadInput, match="no name of one"):
        db.film(iter(frames), None)
