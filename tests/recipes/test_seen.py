"""What was seen of an item: in every order of its axes, between the levels of the data, and in buckets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import driftback as db
from driftback.data.buckets import middle
from driftback.errors import BadInput
from driftback.networks.presets import NetworkSpec
from driftback.recipes import seen
from driftback.recipes.model import Model
from driftback.recipes.posterior import fill

TINY = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)
COLOUR = {"hwc": (8, 8, 3), "chw": (3, 8, 8)}
EVENTS = COLOUR | {"hw": (8, 8), "one": (8, 8, 1), "first": (1, 8, 8)}


def fitted(x: np.ndarray) -> Model:
    return db.fit(x, steps=1, batch=4, network=TINY, method="edm")


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    rng = np.random.default_rng(0)
    return {name: fitted(rng.integers(0, 256, (40, *event)).astype(np.uint8)) for name, event in EVENTS.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(1)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    pixels = {"a": rng.integers(0, 256, (8, 8, 3)), "small": rng.integers(0, 256, (4, 4, 3)), "m": mask}
    for name, one in pixels.items():
        Image.fromarray(one.astype(np.uint8)).save(home / f"{name}.png")
    return home


@pytest.mark.parametrize("name", EVENTS)
def test_a_file_is_seen_in_every_order_of_the_axes(models: dict[str, Model], files: Path, name: str) -> None:
    config = models[name].config
    item, hide, said = seen.read_masked(config, files / "a.png", files / "m.png")
    assert item.shape == config.preprocessing.event
    assert said is None
    part = seen.hidden(config, item, hide)
    z = config.preprocessing.encode(item[None])
    assert torch.equal(part.y, z[0, :, :, :4].reshape(-1)), "the left half is seen"
    small = seen.smaller(config, seen.read(config, files / "small.png", 2), 2)
    channels = config.preprocessing.internal_event[0]
    assert tuple(small.y.shape) == (channels, 4, 4)
    soft = seen.blurred(config, seen.read(config, files / "a.png"), 0.8)
    assert torch.allclose(soft.y, z[0], atol=1e-6)
    with Image.open(files / "small.png") as image:
        pixels = np.asarray(image.convert("RGB" if channels == 3 else "L")).reshape(4, 4, channels)
    assert torch.allclose(small.y, torch.from_numpy(np.moveaxis(pixels, -1, 0) / 127.5 - 1).float(), atol=1e-6)


@pytest.mark.parametrize("name", COLOUR)
def test_colours_are_lost_in_every_order_of_the_axes(models: dict[str, Model], files: Path, name: str) -> None:
    config = models[name].config
    luma = seen.grey(config, seen.read(config, files / "a.png", channels=1))
    assert tuple(luma.y.shape) == (1, 8, 8)
    assert fill(models[name], luma, 1, steps=2).x.shape == (1, *COLOUR[name])


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_seen_of_an_item_is_what_the_operator_makes_of_its_code(models: dict[str, Model], name: str) -> None:
    """Means of whole numbers are no whole numbers, and neither luminance nor a blur is."""
    config = models[name].config
    prepared = config.preprocessing
    x = np.random.default_rng(2).integers(0, 256, prepared.event).astype(np.uint8)
    z = prepared.encode(x[None])
    inside = np.moveaxis(z[0].numpy().astype(float), 0, -1) * 127.5 + 127.5
    means = inside.reshape(4, 2, 4, 2, -1).mean((1, 3))
    assert (means != np.rint(means)).any()
    found = seen.smaller(config, means, 2)
    assert torch.allclose(found.y, found.operator(z)[0], atol=1e-5)
    blur = seen.blurred(config, inside, 0.8)
    sharp = blur.operator(z)[0].numpy().astype(float)
    floats = np.moveaxis(sharp, 0, -1) * 127.5 + 127.5
    assert np.allclose(seen.blurred(config, floats, 0.8).y, sharp, atol=1e-5)
    if prepared.internal_event[0] == 3:
        luma = inside @ np.array([0.299, 0.587, 0.114])
        colourless = seen.grey(config, luma)
        assert torch.allclose(colourless.y, colourless.operator(z)[0], atol=1e-5)


def test_means_may_lie_between_two_levels_and_items_may_not(files: Path) -> None:
    """A picture of black and white pixels: the mean of four is grey."""
    config = fitted(255 * np.random.default_rng(0).integers(0, 2, (40, 8, 8)).astype(np.uint8)).config
    assert config.preprocessing.levels.count == 2
    for name, size in (("half", 4), ("whole", 8)):
        Image.fromarray(np.full((size, size), 100, np.uint8)).save(files / f"{name}.png")
    half = seen.smaller(config, seen.read(config, files / "half.png", 2), 2)
    assert torch.allclose(half.y, torch.tensor(100 / 127.5 - 1))
    item, hide, said = seen.read_masked(config, files / "whole.png", files / "m.png")
    assert not item.any()
    assert f"{files / 'whole.png'} is off the 2 levels of the data by up to 39% of their range" in said
    seen.hidden(config, item, hide)
    with pytest.raises(BadInput, match=r"the value 100 .* is not on the 2 levels"):
        seen.hidden(config, np.full((8, 8), 100, np.uint8), hide)
    mixed = np.full((8, 8), 255, np.uint8)
    mixed[:, 4:] = 100
    Image.fromarray(mixed).save(files / "mixed.png")
    assert seen.read_masked(config, files / "mixed.png", files / "m.png")[2] is None, "what is hidden is not looked at"


def test_a_file_in_bytes_is_near_enough_to_few_levels(files: Path) -> None:
    """17 levels, as of the digits: a level is not a whole byte, and still one reads what one has written."""
    x = np.random.default_rng(0).integers(0, 17, (40, 8, 8)).astype(np.uint8)
    config = fitted(x).config
    Image.fromarray(np.rint(x[0] * (255 / 16)).astype(np.uint8)).save(files / "digit.png")
    item, _, said = seen.read_masked(config, files / "digit.png", files / "m.png")
    assert said is None
    assert np.array_equal(item, x[0])


def test_what_was_not_seen_of_this_data_is_refused(models: dict[str, Model], files: Path) -> None:
    colour, grey = models["hwc"].config, models["hw"].config
    two = fitted(np.random.default_rng(0).random((40, 8, 8, 2))).config
    points = db.fit(np.random.default_rng(0).normal(size=(60, 2)), steps=1).config
    cases = [
        (
            lambda: seen.smaller(colour, np.full((4, 4, 3), 300.0), 2),
            r"300 \(and 47 more\) is not in the range 0 to 255",
        ),
        (lambda: seen.grey(colour, np.full((8, 8), -1.0)), "-1 .* is not in the range"),
        (lambda: seen.blurred(colour, np.full((8, 8, 3), np.nan), 1.0), "NaN or infinite"),
        (lambda: seen.blurred(colour, np.full((8, 8, 3), "a"), 1.0), "must be numbers"),
        (lambda: seen.smaller(colour, np.zeros((4, 4, 3)), 0), "factor must be at least 2, not 0"),
        (lambda: seen.smaller(colour, np.zeros((4, 4, 3)), 3), "3 does not divide"),
        (lambda: seen.smaller(grey, np.zeros((4, 4, 3)), 2), "bring the picture to 4 x 4, in 1 channel"),
        (lambda: seen.blurred(colour, np.zeros((8, 8)), 1.0), "bring the picture to 8 x 8, in 3 channels"),
        (lambda: seen.blurred(grey, np.zeros((8, 8)), 0), "a blur of 0.0 pixels is none"),
        (lambda: seen.read(two, files / "a.png"), "no picture file has 2 channels"),
        (lambda: seen.read(colour, files / "a.png", 2), "is 8 x 8, and 4 x 4 is wanted"),
        (lambda: seen.columns(points, {"0": 1.0, "1": 1.0}), "all columns are given"),
        (lambda: seen.columns(points, {"0": np.inf}), "0 must be a finite number, not inf"),
    ]
    for make, said in cases:
        with pytest.raises(BadInput, match=said) as error:
            make()
        assert "\n" not in str(error.value)


def test_columns_of_a_table(tmp_path: Path) -> None:
    """By their names, whole numbers too; and what is asked for besides is said not to be one."""
    rng = np.random.default_rng(0)
    rooms = rng.integers(1, 7, 200)
    lines = [f"{r},{30 * r + 10 * rng.random():.2f},{'b' if r > 3 else 'a'}" for r in rooms]
    (tmp_path / "houses.csv").write_text("\n".join(["rooms,area,kind", *lines]))
    model = db.fit(tmp_path / "houses.csv", y="kind", steps=30)
    known = seen.columns(model.config, {"rooms": 4})
    x = fill(model, known, 20, steps=20).x
    assert (x[:, 0] == 4).all()
    with pytest.raises(BadInput, match="no column 'kind': what it holds is asked for by label"):
        seen.columns(model.config, {"kind": 1.0})


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Pictures in the buckets 12 x 20, 16 x 16 and 20 x 12, on a canvas of 20 x 20."""
    folder, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for k in range(54):
        pixels = 85 * rng.integers(1, 4, ((12, 20), (16, 16), (20, 12))[k % 3]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02d}.png")
    return db.fit(folder, steps=2, batch=8, network=TINY, size=16, aspect="bucket", device="cpu")


def test_a_picture_of_a_bucket_is_seen_within_its_canvas(shapes: Model, tmp_path: Path) -> None:
    config = shapes.config
    rng, place = np.random.default_rng(3), middle((20, 20), (12, 20))
    item, hide = 85 * rng.integers(1, 4, (12, 20)).astype(np.uint8), np.zeros((12, 20), bool)
    hide[:, 10:] = True
    part = seen.hidden(config, item, hide)
    assert part.numbers == 400 - 120, "the ground is seen too"
    canvas = np.zeros((20, 20), np.uint8)
    canvas[place] = item
    z = config.preprocessing.encode(canvas[None])
    assert torch.equal(part.operator(z)[0], part.y)
    small = seen.smaller(config, item.reshape(6, 2, 10, 2).mean((1, 3)), 2)
    assert torch.allclose(small.operator(z)[0], small.y, atol=1e-5)
    blur = seen.blurred(config, item, 0.7)
    assert tuple(blur.y.shape) == tuple(blur.operator(z).shape[1:]) == (1, 12, 20)
    Image.fromarray(item).save(tmp_path / "a.png")
    x = seen.read(config, tmp_path / "a.png")
    assert np.array_equal(x, item)
    assert part.shape == small.shape == blur.shape == (12, 20)
    Image.fromarray(canvas).save(tmp_path / "canvas.png")
    with pytest.raises(BadInput, match="is 20 x 20, and 12 x 20 or 16 x 16 or 20 x 12 is wanted"):
        seen.read(config, tmp_path / "canvas.png")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(BadInput, match="they have to agree"):
        seen.read_masked(config, tmp_path / "a.png", tmp_path / "other.png")
