"""Films are files that open again with as many frames, of the same bytes each time, small and whole or not there."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

import driftback as db
from driftback.pictures.film import SUFFIXES, Film, Written, write
from driftback.pictures.gif import COLOURS, numbered
from driftback.pictures.palette import LIGHT, colour
from driftback.pictures.render import pixels
from driftback.pictures.scene import Density, Panel, Points, Scene, Tiles, centres
from driftback.pictures.video import ffmpeg, write_mp4

COUNT = 4
LIMITS = (-1.0, 1.0, -1.0, 1.0)


def scenes(seed: int = 0, count: int = COUNT) -> tuple[Scene, ...]:
    x = np.random.default_rng(seed).uniform(-1, 1, (10, 2))
    values = np.exp(-((centres(LIMITS, 16) ** 2).sum(1))).reshape(16, 16)

    def scene(k: int) -> Scene:
        panel = Panel((Density(values, LIMITS), Points(x * (1 - k / count), "made", 5.0, 1.0)), LIMITS, shape=0.4)
        return Scene((panel,), "a caption", f"t = {k}")

    return tuple(scene(k) for k in range(count))


def film(seed: int = 0, **named) -> Film:
    return Film("try", scenes(seed), COUNT, **named)


def opened(told: Written) -> Iterator[np.ndarray]:
    """The frames of a file, (height, width, 3)."""
    path = told.path
    if path.suffix == ".mp4":
        words = [
            ffmpeg(),
            "-v",
            "error",
            "-i",
            str(path),
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ]
        raw = subprocess.run(words, capture_output=True, check=True, timeout=60).stdout
        yield from np.frombuffer(raw, np.uint8).reshape(-1, told.height, told.width, 3)
        return
    with Image.open(path) as image:
        for k in range(getattr(image, "n_frames", 1)):
            image.seek(k)
            yield np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_has_one_seed_in_one_file(suffix, tmp_path) -> None:
    one, again, other = (tmp_path / f"{name}{suffix}" for name in ("one", "again", "other"))
    told = write(film(), one)
    write(film(), again)
    write(film(1), other)
    assert one.read_bytes() == again.read_bytes()
    assert one.read_bytes() != other.read_bytes()
    assert told.size == one.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (one, again, other))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4", ".png"])
def test_every_format_opens_again_and_shows_the_scenes(suffix, tmp_path) -> None:
    told = write(film(hold=0.3, seconds=0.1), tmp_path / f"x{suffix}")
    frames, drawn = list(opened(told)), list(pixels(scenes()))
    still = suffix == ".png"
    assert told.frames == (1 if still else COUNT)
    # A video holds its last frame by repeating it: three of a tenth of a second.
    assert len(frames) == {".png": 1, ".mp4": COUNT + 2}.get(suffix, COUNT)
    assert told.plays == pytest.approx(0 if still else 0.6)
    assert frames[0].shape == (told.height, told.width, 3) == drawn[0].shape
    for frame, shot in zip(frames, drawn[-1:] if still else drawn, strict=False):
        # The mean error of a channel: 0 without loss, below 2 of 255 where colours are few or compressed.
        assert np.abs(frame.astype(int) - shot).mean() < (0.01 if still else 2)
    if suffix != ".mp4" and not still:
        with Image.open(told.path) as image:
            durations = []
            for k in range(image.n_frames):
                image.seek(k)
                image.load()
                durations.append(image.info["duration"])
        assert durations == [100] * (COUNT - 1) + [300]
        assert image.info["loop"] == 0


def test_a_gif_has_one_palette_and_keeps_the_ground(tmp_path) -> None:
    frames = list(opened(write(film(), tmp_path / "x.gif")))
    # Frames of their own palettes have half as many again together, each no more than its share.
    assert len(np.unique(np.concatenate(frames).reshape(-1, 3), axis=0)) <= COLOURS
    assert all((frame[0, 0] == 255).all() for frame in frames)
    made = np.rint(255 * colour(LIGHT.roles["made"]))
    assert (frames[-1] == made).all(2).sum() > 30


def test_a_gif_keeps_the_colour_of_a_role_that_few_dots_have(tmp_path) -> None:
    """One red dot over a density of many shades of its hue."""
    values = np.random.default_rng(0).uniform(size=(40, 40))
    dots = Density(values, LIMITS), Points(np.zeros((1, 2)), "start", 5.0, 1.0)
    told = write(Film("red", [Scene((Panel(dots, LIMITS),), "", f"{k}") for k in range(2)]), tmp_path / "x.gif")
    red = np.rint(255 * colour(LIGHT.roles["start"]))
    assert all(20 < (frame == red).all(2).sum() < 80 for frame in opened(told))


def test_a_gif_keeps_a_colour_that_is_there_in_the_middle_alone(tmp_path) -> None:
    tiles = [np.full((1, 30, 30, 3), 255, np.uint8) for _ in range(5)]
    tiles[2][:] = (10, 200, 40)
    one = [Scene((Panel((Tiles(part, 1),), (0, 32, 0, 32)),), "", f"{k}") for k, part in enumerate(tiles)]
    frames = list(opened(write(Film("green", one), tmp_path / "x.gif")))
    assert np.abs(frames[2][200, 200].astype(int) - [10, 200, 40]).max() < 12


def test_times_are_those_of_the_file(tmp_path) -> None:
    for suffix, each in ((".gif", 30), (".webp", 33)):
        told = write(film(hold=0.0, seconds=0.033), tmp_path / f"x{suffix}")
        assert told.plays == pytest.approx(COUNT * each / 1000)


@pytest.mark.parametrize("name", ["a film.mp4", "12:30.mp4"])
def test_a_video_has_one_thread_and_any_name(name, tmp_path, monkeypatch) -> None:
    asked, start = [], subprocess.Popen

    def watched(command, **named):
        asked.extend(command)
        return start(command, **named)

    monkeypatch.setattr(subprocess, "Popen", watched)
    assert write(film(hold=2.0, seconds=0.1), tmp_path / name).plays == pytest.approx(2.0 + 0.1 * (COUNT - 1))
    assert asked[asked.index("-threads") + 1] == "1", "more threads make other files on other machines"


def test_each_pixel_gets_the_nearest_colour() -> None:
    rng = np.random.default_rng(0)
    colours, shots = (
        rng.integers(0, 256, (9, 3)).astype(np.uint8),
        rng.integers(0, 256, (2, 30, 40, 3)).astype(np.uint8),
    )
    for shot, found in zip(shots, numbered(shots, colours), strict=True):
        apart = np.square(shot[:, :, None].astype(int) - colours).sum(3)
        assert np.array_equal(np.take_along_axis(apart, found[..., None].astype(int), 2)[..., 0], apart.min(2))


def test_dark_is_dark(tmp_path) -> None:
    assert next(opened(write(film(), tmp_path / "x.png", dark=True)))[0, 0].max() < 40


def test_a_strip_shows_five_moments(tmp_path) -> None:
    told = write(film(), tmp_path / "x.png", strip=True)
    (image,) = opened(told)
    assert image.shape == (told.height, told.width, 3)
    assert told.width > 4 * told.height
    with pytest.raises(db.BadInput, match="a strip is a still"):
        write(film(), tmp_path / "x.gif", strip=True)


@pytest.mark.parametrize(
    ("made", "name", "said"),
    [
        (film(), "x.avi", "let the name end in .gif, .webp, .mp4, .png or .svg"),
        (film(), "x", "let the name end in"),
        (Film("none", ()), "x.gif", "no frames"),
        (Film("none", ()), "x.png", "no frames"),
        (Film("odd", (scenes()[0], Scene((scenes()[0].panels[0],) * 2))), "x.gif", "differ in size"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(made, name, said, tmp_path) -> None:
    with pytest.raises(db.BadInput, match=said) as caught:
        write(made, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_told_before_anything_is_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)

    def never() -> Iterator[Scene]:
        raise AssertionError("drawn")
        yield

    with pytest.raises(db.BadInput, match=r"pip install 'driftback\[video\]'"):
        write(Film("x", never()), tmp_path / "x.mp4")


def test_a_video_that_cannot_be_written_is_told_in_one_line(tmp_path) -> None:
    with pytest.raises(OSError, match="ffmpeg stopped") as caught:
        write_mp4([np.zeros((3, 5, 3), np.uint8)], tmp_path / "odd.mp4", rate=10)
    assert "\n" not in str(caught.value)
    (tmp_path / "taken").write_text("")
    with pytest.raises(db.BadInput, match=r"cannot write .*taken/x\.mp4"):
        write(film(), tmp_path / "taken" / "x.mp4")


def test_a_film_that_fails_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "x.gif"
    write(film(), path)
    before = path.read_bytes()

    def broken() -> Iterator[Scene]:
        yield scenes()[0]
        raise db.BadInput("no more")

    with pytest.raises(db.BadInput, match="no more"):
        write(Film("broken", broken()), path)
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(db.BadInput, match="no more"):
        write(Film("broken", broken()), path)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told(tmp_path) -> None:
    told: list[tuple[int, int]] = []
    write(film(), tmp_path / "x.png", progress=lambda done, total: told.append((done, total)))
    assert told == [(k + 1, COUNT) for k in range(COUNT)]
