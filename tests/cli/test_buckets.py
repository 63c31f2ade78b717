"""`--aspect bucket` in the shell: looked at, learned, drawn, asked for by shape, judged, and refused for the rest."""

import json

import numpy as np
import pytest
from PIL import Image

SHAPES = {"12x20": (12, 20), "16x16": (16, 16), "20x12": (20, 12)}
READING = ("--size", 16, "--aspect", "bucket")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("buckets") / "photos", np.random.default_rng(0)
    folder.mkdir()
    for k in range(54):
        pixels = 85 * rng.integers(1, 4, list(SHAPES.values())[k % 3]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02d}.png")
    return folder


@pytest.fixture(scope="module")
def fitted(cli, photos):
    run = photos.parent / "run"
    words = ("--steps", 2, "--batch", 4, "--network", "tiny", "--device", "cpu", "--quiet", "--json")
    done = cli("fit", photos, *READING, *words, "--out", run)
    assert done.code == 0, done.err
    return run


def test_check_counts_the_buckets(cli, photos):
    said = cli("check", photos, *READING)
    assert said.code == 0
    assert said.out.startswith("photos: 54 pictures of 20 x 20, in 3 buckets\n")
    assert "buckets, 18 of 12 x 20, 18 of 16 x 16, 18 of 20 x 12; cropped to them 0% of the area is lost" in said.out
    assert "cropped to 16 x 16 it would be 27%" in said.out
    found = cli("check", photos, *READING, "--json").json
    assert found["buckets"] == dict.fromkeys(SHAPES, 18)
    assert "buckets" not in cli("check", photos, "--size", 16, "--json").json


def test_info_lists_them(cli, fitted):
    record = json.loads((fitted / "config.json").read_text())
    assert record["reading"] == {"size": 16, "aspect": "bucket"}
    found = cli("info", fitted, "--json").json
    assert list(found["buckets"]) == list(SHAPES)
    assert sum(found["buckets"].values()) == found["items"] == 43
    assert f"12x20 ({found['buckets']['12x20']}), 16x16" in cli("info", fitted).out


def test_pictures_come_in_their_shapes(cli, fitted, tmp_path):
    common = ("-n", 9, "--steps", 2, "--device", "cpu", "--quiet", "--json")
    found = cli("sample", fitted, *common, "--out", tmp_path / "new").json
    drawn = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "new").iterdir())]
    assert found["shape"] == [9, 20, 20]
    assert [list(x.shape) for x in drawn] == found["shapes"]
    assert len({tuple(shape) for shape in found["shapes"]}) > 1
    again = cli("sample", fitted, *common, "--out", tmp_path / "new.npz").json
    assert again["shapes"] == found["shapes"]
    with np.load(tmp_path / "new.npz") as kept:
        assert kept["shape"].tolist() == found["shapes"]
        for x, one, (height, width) in zip(kept["x"], drawn, found["shapes"], strict=True):
            top, left = (20 - height) // 2, (20 - width) // 2
            np.testing.assert_array_equal(x[top : top + height, left : left + width], one)
            assert x.astype(int).sum() == one.astype(int).sum()


def test_a_shape_is_asked_for(cli, fitted, tmp_path):
    common = ("-n", 3, "--steps", 2, "--device", "cpu", "--quiet")
    found = cli("sample", fitted, *common, "--shape", "20x12", "--out", tmp_path / "tall.png", "--json").json
    assert found["shapes"] == [[20, 12]] * 3
    sheet = np.asarray(Image.open(tmp_path / "tall.png").convert("L"))
    factor = sheet.shape[1] // (2 * 21 + 1)
    cell = sheet[::factor, ::factor][1:21, 1:21]
    assert (cell[:, :4] == 255).all()
    assert (cell[:, 16:] == 255).all()
    assert "holds whole canvases" in cli("sample", fitted, *common, "--out", tmp_path / "x.npy").err
    unknown = cli("sample", fitted, *common, "--shape", "24x40", "--out", tmp_path / "a.png")
    assert unknown.code == 2
    assert "there is no bucket 24x40; known, with training pictures: 12x20 (" in unknown.error
    odd = cli("sample", fitted, *common, "--shape", "24", "--out", tmp_path / "a.png")
    assert (odd.code, "--shape 24 is no shape; write 24x40" in odd.error) == (2, True)


def test_several_shapes_take_turns(cli, fitted, tmp_path):
    words = ("-n", 5, "--steps", 2, "--device", "cpu", "--quiet", "--shape", "20x12", "--shape", "12x20", "--json")
    found = cli("sample", fitted, *words, "--out", tmp_path / "new.png").json
    assert found["shapes"] == [[20, 12], [12, 20]] * 2 + [[20, 12]]
    sheet = np.asarray(Image.open(tmp_path / "new.png"))
    assert sheet.shape[1] < sheet.shape[0], "two columns of three, with their shapes above"


def test_models_of_one_shape_are_not_asked_for_one(cli, digits, tmp_path):
    failed = cli("sample", digits, "--shape", "8x8", "--out", tmp_path / "a.png")
    assert (failed.code, "fit pictures with --aspect bucket" in failed.error) == (2, True)


def test_it_is_judged_and_scored_and_goes_on(cli, photos, fitted):
    found = cli("evaluate", fitted, "-n", 20, "--features", "none", "--report", "--gallery", fitted.parent / "g.png")
    assert found.code == 0, found.err
    assert "the samples were drawn on the shapes of the held-out items" in found.err
    assert (fitted / "report.html").is_file()
    scored = cli("likelihood", fitted, "--draws", 2, "--quiet", "--json").json
    assert scored["method"].endswith("of the whole canvas given its bucket")
    other = cli("likelihood", fitted, photos, *READING, "--n", 2, "--draws", 2, "--quiet", "--json").json
    assert np.isfinite(other["nats"])
    again = cli("fit", photos, "--out", fitted, "--resume", "--json")
    assert (again.code, again.json["items"]) == (0, 43)


@pytest.mark.parametrize("command", ["likelihood", "evaluate"])
def test_other_data_of_another_shape_are_told_what_the_model_knows(cli, fitted, command):
    failed = cli(command, fitted, "digits")
    assert failed.code == 2
    assert failed.error.endswith(
        "the model knows pictures of 12x20, 16x16, 20x12 on a canvas of shape (20, 20); these have shape (8, 8) (1797 "
        "of them): give a folder of pictures, or items of that shape"
    )


def test_what_has_no_buckets_is_one_line(cli, photos, tmp_path):
    for source in ("digits", "two-moons"):
        failed = cli("check", source, "--aspect", "bucket")
        assert (failed.code, "aspect (bucket) has no meaning for" in failed.error) == (2, True)
    for k in range(9):
        Image.fromarray(np.full((20, 12), k, np.uint8)).save(tmp_path / f"{k}.png")
    failed = cli("check", tmp_path, *READING)
    assert failed.code == 2
    assert "one bucket does nothing: use --aspect crop or pad" in failed.error
    assert "(did you mean bucket?)" in cli("check", photos, "--aspect", "buckets").error
