"""How pictures are read is asked for in the shell, written into the model, and heeded when its data are read again."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file_name,what,kind,age"]
    for k in range(60):
        Image.fromarray(rng.integers(0, 256, (8, 8 + k % 3)).astype(np.uint8)).save(folder / f"{k:02d}.png")
        lines.append(f"{k:02d}.png,picture {k},{'ab'[k % 2]},{k / 2}")
    (folder / "metadata.csv").write_text("\n".join(lines[:-1]))
    return folder


READING = ("--size", "8x6", "--aspect", "pad", "--label", "kind", "--caption", "what", "--number", "age")


def test_check_tells_what_stands_beside_the_pictures(cli, photos):
    said = cli("check", photos, *READING)
    assert said.code == 0
    assert said.out.startswith("photos: 59 pictures of 8 x 6, 2 classes, captions, numbers age\n")
    assert "warning  pictures have no line in the metadata: left out\n           59.png" in said.out
    found = cli("check", photos, *READING, "--json").json
    assert (found["items"], found["shape"]) == (59, [8, 6])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--aspect", "padd"), "there is no aspect 'padd' (did you mean pad?)"),
        (("--label", "kinds"), "no column 'kinds' (did you mean kind?)"),
        (("--caption", "text"), "no column 'text'"),
        (("--number", "age,height"), "no column 'height'"),
        (("--number", "what"), "holds no numbers (such as 'picture 0')"),
    ],
)
def test_what_is_not_there_is_one_line(cli, photos, words, told):
    failed = cli("check", photos, "--size", 8, *words)
    assert failed.code == 2
    assert told in failed.error


@pytest.mark.parametrize("option", ["--aspect", "--caption", "--number"])
def test_options_for_pictures_have_no_meaning_for_points(cli, option):
    failed = cli("check", "two-moons", option, "crop")
    assert failed.code == 2
    assert "has no meaning for" in failed.error


def test_a_model_remembers_how_its_pictures_were_read(cli, photos, run):
    both = cli("fit", photos, *READING, "--out", run)
    assert (both.code, "not on both: leave one out" in both.error) == (2, True)
    two = cli("fit", photos, *READING[: READING.index("--number")], "--out", run)
    assert (two.code, "conditioned on classes or on captions, not on both" in two.error) == (2, True)
    words = (*READING[: READING.index("--label")], "--caption", "what")
    fit = ("fit", photos, *words, "--batch", 8, "--out", run, "--quiet", "--json")
    assert cli(*fit, "--steps", 1).json["items"] == 47
    reading = json.loads((run / "config.json").read_text())["reading"]
    assert reading == {"size": [8, 6], "aspect": "pad", "caption": "what"}
    again = cli("fit", photos, "--out", run, "--resume", "--json")
    assert (again.code, again.json["items"]) == (0, 47)
    found = cli("evaluate", run, "-n", 20, "--quiet", "--json")
    assert found.code == 0
    assert found.json["metrics"]
