"""`driftback show`: a list of ideas, films that are written where they are asked for, and mistakes in one line."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from driftback.pictures.shows import SHOWS


def test_the_list_has_a_line_for_each_idea(cli) -> None:
    for words in (("show",), ("show", "--list")):
        told = cli(*words)
        assert told.code == 0
        lines = told.out.splitlines()
        assert len(lines) == len(SHOWS) + 1
        for line, show in zip(lines[1:], SHOWS.values(), strict=True):
            assert line.startswith(show.name)
            assert show.about in line
            assert show.source in line
    found = cli("show", "--list", "--json").json
    assert [one["name"] for one in found["films"]] == list(SHOWS)
    assert set(found["films"][0]) == {"name", "about", "source"}


def test_a_film_is_written_and_told(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = cli("show", "random-walk", "--frames", 3, "--quiet")
    assert (told.code, told.err) == (0, "")
    with Image.open("random-walk.gif") as image:
        assert image.n_frames == 3
    assert told.out.startswith("wrote random-walk to random-walk.gif: 3 frames of 520 x 530, ")
    assert "already" in cli("show", "random-walk", "--frames", 3).error
    found = cli("show", "random-walk", "--frames", 3, "--force", "--seed", 4, "--dark", "--json", "--quiet").json
    assert list(found) == ["film", "out", "frames", "width", "height", "bytes", "seconds"]
    assert found["bytes"] == (tmp_path / "random-walk.gif").stat().st_size
    with Image.open("random-walk.gif") as image:
        assert max(image.convert("RGB").getpixel((0, 0))) < 40


def test_a_target_of_ones_own_and_a_strip(cli, tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2)) * [1, 30]
    np.savetxt(tmp_path / "mine.csv", x, delimiter=",", header="a,b", comments="")
    words = ("show", "forward", "--target", tmp_path / "mine.csv", "--columns", "b,a", "--frames", 5, "--quiet")
    told = cli(*words, "--strip", "--out", tmp_path / "deep" / "x.png")
    assert told.code == 0
    assert "1 frame of 720 x" in told.out
    with Image.open(tmp_path / "deep" / "x.png") as image:
        assert image.width == 720


def test_a_table_of_ones_own_is_filmed_in_two_commands(cli, tmp_path, monkeypatch) -> None:
    """What the README shows, with fewer steps."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(120, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 30]])
    np.savetxt("my.csv", x, delimiter=",", header="a,b,c", comments="")
    assert cli("fit", "my.csv", "--out", "runs/my", "--steps", "2", "--quiet").code == 0
    told = cli("show", "forming", "--model", "runs/my", "--out", "forming.gif", "--frames", 4, "--quiet")
    assert (told.code, told.err) == (0, "")
    with Image.open("forming.gif") as image:
        assert image.n_frames == 4


def test_a_model_that_a_film_cannot_be_of_is_told(cli, moons, digits, tmp_path) -> None:
    out = tmp_path / "y.gif"
    for words, said in (
        (("log-density", "--model", digits), "no model of two columns"),
        (("forward", "--model", moons), "leave --model out, or show log-density and forming"),
        (("forming", "--model", moons, "--target", "two-moons"), "not of both"),
        (("forming", "--model", moons, "--columns", "d"), "no column d"),
        (("forming", "--model", tmp_path / "gone"), "there is no model in"),
    ):
        refused = cli("show", *words, "--out", out)
        assert refused.code in (2, 3)
        assert said in refused.error
    assert not out.exists()


def test_pictures_of_a_model_form_as_tiles(cli, digits, tmp_path) -> None:
    told = cli("show", "forming", "--model", digits, "--frames", 2, "--out", tmp_path / "x.png", "--quiet")
    assert told.code == 0
    with Image.open(tmp_path / "x.png") as image:
        assert image.width == 520


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("forwrd",), "did you mean forward?); choose one of point-cloud, "),
        (("forward", "--out", "x.avi"), "let the name end in .gif, .webp, .mp4, .png or .svg"),
        (("forward", "--strip"), "a strip is a still"),
        (("forward", "--target", "two-mons"), "did you mean two-moons?"),
        (("forward", "--frames", "1"), "frames"),
        (("forward", "--seed", "-1"), "seed"),
    ],
)
def test_mistakes_are_told_in_one_line(cli, words, said, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = cli("show", *words)
    assert told.code == 2
    assert said in told.error
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_and_results_are_apart(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("driftback.cli.progress.EVERY", 0.0)
    told = cli("show", "random-walk", "--frames", 4, "--out", tmp_path / "x.png", "--json")
    assert "frames 4/4" in told.err
    assert "left" in told.err
    assert json.loads(told.out)["frames"] == 1


def test_a_missing_extra_is_named(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "pip install 'driftback[video]'" in cli("show", "forward", "--out", tmp_path / "x.mp4").error


def test_what_was_noticed_is_told_beside_a_refusal_and_once(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.csv").write_text("a,b\n1,2\n2,3\n3,1\n")
    told = cli("show", "forward", "--target", "three.csv")
    assert told.code == 2
    assert told.err.count("column 'a' numbers the rows: left out") == 1
    assert "has one column of numbers" in told.error
    assert cli("show", "forward", "--target", "three.csv", "--columns", "a,b", "--frames", "2").code == 0
