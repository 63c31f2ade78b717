"""`driftback sample` of what was seen in part: pictures and columns, and options that do not go together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import driftback as db
from driftback.networks.presets import NetworkSpec


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


def test_what_remembers_speaks_of_no_training_and_a_class_that_is_not_drawn_is_told(cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=rng.normal(size=(200, 2)), y=np.arange(200) % 2)
    made = cli("fit", tmp_path / "rows.npz", "--label", "y", "--method", "recorded", "--out", tmp_path / "run")
    assert made.code == 0, made.err
    assert "no network, nothing is trained" in made.err
    assert not any(word in made.err for word in ("speed:", "memory:", "FLOP", "averaged"))
    words = ("sample", tmp_path / "run", "-n", 20, "--steps", 60, "--given", "0=.1", "--particles", 50, "--force")
    out = ("--out", tmp_path / "x.csv")
    assert "the samples have no y: what is known tells" in cli(*words, *out).err
    assert "the samples have no y" not in cli(*words, *out, "--label", "0").err


@pytest.mark.parametrize("event", [(3, 8, 8), (8, 8, 1), (8, 8)])
def test_pictures_in_every_order_of_their_axes(cli, photos: Path, tmp_path: Path, event: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, *event)).astype(np.uint8)
    db.fit(x, steps=1, network="tiny", method="edm", out=tmp_path / "run")
    ways = [
        ("--inpaint", photos / "a.png", "--mask", photos / "m.png"),
        ("--given", photos / "small.png", "--upscale", 2),
        ("--given", photos / "a.png", "--deblur", 0.8),
    ]
    for words in ways:
        out = tmp_path / "x.npy"
        done = cli("sample", tmp_path / "run", "-n", 2, "--steps", 2, *words, "--out", out, "--quiet", "--force")
        assert done.code == 0, done.err
        assert np.load(out, allow_pickle=False).shape == (2, *event)


def test_a_picture_off_the_levels_is_told(cli, photos: Path, tmp_path: Path) -> None:
    x = 255 * np.random.default_rng(0).integers(0, 2, (40, 8, 8)).astype(np.uint8)
    db.fit(x, steps=1, network="tiny", method="edm", out=tmp_path / "run")
    words = ("sample", tmp_path / "run", "-n", 2, "--steps", 2, "--out", tmp_path / "x.npy", "--quiet", "--force")
    known = cli(*words, "--inpaint", photos / "grey.png", "--mask", photos / "m.png")
    assert known.code == 0
    assert "is off the 2 levels of the data by up to" in known.err
    assert "levels" not in cli(*words, "--given", photos / "small.png", "--upscale", 2).err


def test_a_picture_of_a_bucket_is_drawn_in_it(cli, tmp_path: Path) -> None:
    rng, shapes = np.random.default_rng(0), ((12, 20), (20, 12))
    (tmp_path / "photos").mkdir()
    for k in range(40):
        pixels = rng.integers(100, 200, shapes[k % 2]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02d}.png")
    given = {"a": pixels, "m": 255 * (np.arange(240).reshape(shapes[1]) % 2), "small": pixels[::2, ::2]}
    for name, one in given.items():
        Image.fromarray(one.astype(np.uint8)).save(tmp_path / f"{name}.png")
    spec = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)
    db.fit(
        tmp_path / "photos",
        out=tmp_path / "run",
        steps=1,
        batch=8,
        network=spec,
        size=16,
        aspect="bucket",
        held_out=0.1,
    )
    words = ("sample", tmp_path / "run", "-n", 4, "--steps", 2, "--out", tmp_path / "x.npz", "--quiet", "--force")
    masked = ("--inpaint", tmp_path / "a.png", "--mask", tmp_path / "m.png")
    for known in (masked, ("--given", tmp_path / "small.png", "--upscale", 2)):
        done = cli(*words, *known, "--json")
        assert done.code == 0, done.err
        assert done.json["shapes"] == [[20, 12]] * 4
    assert "belongs to a picture of 20x12; leave --shape out" in cli(*words, *masked, "--shape", "12x20").error
    assert cli(*words, *masked, "--shape", "20x12").code == 0


def test_only_classes_that_were_asked_for_are_written(cli, tmp_path: Path) -> None:
    """Where a column is known, nobody asked for the class that plain samples would be drawn on."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    rows = [f"{a:.3f},{b:.3f},{'ab'[k]}" for (a, b), k in zip(rng.normal(size=(200, 2)), y, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,kind", *rows]))
    db.fit(tmp_path / "rows.csv", y="kind", steps=2, out=tmp_path / "run")
    out = tmp_path / "new.csv"
    words = ("sample", tmp_path / "run", "-n", 3, "--steps", 4, "--out", out, "--quiet", "--force")
    heads = {}
    for name, more in {
        "plain": (),
        "known": ("--given", "x=0.5"),
        "both": ("--given", "x=0.5", "--label", "a"),
    }.items():
        assert cli(*words, *more).code == 0
        heads[name] = out.read_text().splitlines()[0].split(",")
    assert heads == {"plain": ["x", "y", "kind"], "known": ["x", "y"], "both": ["x", "y", "kind"]}
    assert [row.split(",")[2] for row in out.read_text().splitlines()[1:]] == ["a"] * 3
    assert "what it holds is asked for by label" in cli(*words, "--given", "kind=1").error
    assert "wants a number, not 'a'" in cli(*words, "--given", "kind=a").error


def test_what_a_method_does_not_heed_is_told(cli, photos: Path, tmp_path: Path) -> None:
    words = ("sample", photos / "run", "-n", 1, "--steps", 2, "--inpaint", photos / "a.png", "--mask", photos / "m.png")
    words = (*words, "--out", tmp_path / "x.npy", "--quiet", "--force")
    for method, heard in {"repaint": False, "dps": False, "mmps": True}.items():
        for noise in ((), ("--noise", 0.1)):
            done = cli(*words, "--method", method, *noise)
            assert done.code == 0
            assert ("so that --noise changes nothing" in done.err) == (bool(noise) and not heard)


def test_columns_are_filled_in(cli, moons: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    words = ("sample", moons, "-n", 5, "--steps", 20, "--given", "x=0.5", "--noise", 0.001, "--out", out, "--quiet")
    assert cli(*words).code == 0
    assert np.allclose(np.load(out, allow_pickle=False)[:, 0], 0.5, atol=0.02)
    wrong = cli(*words[:7], "z=0.5", "--out", tmp_path / "z.npy")
    assert wrong.code == 2
    assert "no column 'z': known are x, y" in wrong.error
    whole = cli(*words, "--given", "y=0.5", "--force")
    assert "all columns are given, so that nothing is left to draw" in whole.error
    assert "says what x is twice" in cli(*words, "--given", "x=0.2", "--force").error


def test_a_second_density_multiplies(cli, moons: Path, tmp_path: Path) -> None:
    out, own = tmp_path / "x.npy", tmp_path / "right.py"
    words = ("sample", moons, "-n", 200, "--steps", 20, "--times", own, "--out", out, "--quiet", "--force")
    own.write_text("def log_prob(x):\n    return 4 * x[:, 0]\n")
    done = cli(*words, "--json")
    assert done.code == 0, done.err
    assert {"effective", "log_evidence"} <= done.json.keys()
    assert "misfit" not in done.json
    assert np.load(out, allow_pickle=False)[:, 0].mean() > 0.9, "two moons have their mean at .5"
    assert cli(*words, "--method", "guided").code == 0
    wrong = {
        ("--given", "x=1"): "a density of its own",
        ("--noise", "1"): "a density of its own",
        ("--method", "dps"): "there is no method 'dps' here",
        ("--sampler", "heun"): "leave the other options out",
    }
    for more, said in wrong.items():
        result = cli(*words, *more)
        assert result.code == 2
        assert said in result.error
    texts = {
        "density = 1": "right.py defines no log_prob(x)",
        "def log_prob(x):\n    return x[:, 7]": "right.py, line 2: IndexError",
        "def log_prob(x):\n    return (x > 0).sum(1)": "without a derivative",
        "def log_prob(x:": "right.py, line 1: SyntaxError",
    }
    for text, said in texts.items():
        own.write_text(text)
        result = cli(*words)
        assert result.code != 0
        assert said in result.error
    assert "there is no file" in cli(*words[:6], "--times", tmp_path / "none.py", *words[8:]).error


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
        (("--upscale", "0"), "--upscale says what was done to a picture"),
        (("--deblur", "0"), "--deblur says what was done to a picture"),
        (("--given", "small.png", "--upscale", "0"), "--upscale 0 makes no picture larger"),
        (("--given", "a.png", "--deblur", "0"), "a blur of 0.0 pixels is none"),
        (("--inpaint", "a.png", "--mask", "m.png", "--batch-size", "3"), "--batch-size; leave it out"),
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
