"""`driftback sample` of what was seen in part: pictures and columns, and options that do not go together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import driftback as db


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of pictures of 8 x 8 in colour, hardly trained, beside the pictures that the commands are given."""
    home = tmp_path_factory.mktemp("photos")
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    db.fit(x, steps=2, network="tiny", method="edm", out=home / "run")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    for name, pixels in {"a": x[0], "m": mask, "small": x[0, :4, :4], "grey": x[0, :, :, 0], "none": 0 * mask}.items():
        Image.fromarray(pixels).save(home / f"{name}.png")
    return home


def test_pictures_are_filled_in(cli, photos: Path, tmp_path: Path) -> None:
    ways = {
        "mask": ("--inpaint", photos / "a.png", "--mask", photos / "m.png"),
        "smc": ("--inpaint", photos / "a.png", "--mask", photos / "m.png", "--method", "smc", "--particles", 8),
        "colour": ("--given", photos / "grey.png", "--colourise"),
        "upscale": ("--given", photos / "small.png", "--upscale", 2),
        "deblur": ("--given", photos / "a.png", "--deblur", 0.8),
    }
    for name, words in ways.items():
        out = tmp_path / f"{name}.npy"
        result = cli("sample", photos / "run", "-n", 3, "--steps", 4, *words, "--out", out, "--json", "--quiet")
        assert result.code == 0, result.err
        record = result.json
        assert np.load(out, allow_pickle=False).shape == (3, 8, 8, 3)
        assert ("effective" in record) == (name == "smc")
    grid = ("--out", tmp_path / "grid.png", "--quiet")
    plain = cli("sample", photos / "run", "-n", 3, "--steps", 4, *ways["mask"], *grid)
    assert plain.code == 0
    assert "evaluations each" in plain.out


def test_columns_are_filled_in(cli, moons: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    words = ("sample", moons, "-n", 5, "--steps", 20, "--given", "x=0.5", "--noise", 0.001, "--out", out, "--quiet")
    assert cli(*words).code == 0
    assert np.allclose(np.load(out, allow_pickle=False)[:, 0], 0.5, atol=0.02)
    wrong = cli(*words[:7], "z=0.5", "--out", tmp_path / "z.npy")
    assert wrong.code == 2
    assert "no column 'z': known are x, y" in wrong.error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--inpaint", "a.png"), "belong together"),
        (("--mask", "m.png"), "belong together"),
        (("--inpaint", "a.png", "--mask", "none.png"), "hides nothing"),
        (("--inpaint", "small.png", "--mask", "m.png"), "is 4 x 4, and 8 x 8 is wanted"),
        (("--inpaint", "nowhere.png", "--mask", "m.png"), "cannot be read"),
        (("--inpaint", "a.png", "--mask", "m.png", "--colourise"), "leave --colourise out"),
        (("--colourise",), "--given PICTURE"),
        (("--upscale", "2"), "--given PICTURE"),
        (("--given", "small.png", "--upscale", "3"), "does not divide"),
        (("--given", "a.png", "--upscale", "2", "--deblur", "1"), "at a time"),
        (("--given", "a.png"), "COLUMN=X"),
        (("--given", "a=1"), "draws pictures"),
        (("--noise", "1"), "belongs to something that is known"),
        (("--method", "smc"), "how to fill in"),
        (("--inpaint", "a.png", "--mask", "m.png", "--method", "best"), "choose one of"),
        (("--inpaint", "a.png", "--mask", "m.png", "--sampler", "heun"), "leave the other options out"),
        (("--inpaint", "a.png", "--mask", "m.png", "--noise", "0"), "above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(cli, photos: Path, tmp_path: Path, words, said: str) -> None:
    words = [photos / word if str(word).endswith(".png") else word for word in words]
    result = cli("sample", photos / "run", *words, "--out", tmp_path / "x.npy", "--quiet")
    assert result.code == 2
    assert said in result.error
    assert not (tmp_path / "x.npy").exists()
