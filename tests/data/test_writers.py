"""What is written reads back the same, in every form; and nothing is ever there by half."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from driftback.data import load, write, writers
from driftback.errors import BadInput

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(20, 3)) * [1, 1e-9, 1e9]
PICTURES = RNG.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_points_read_back_the_same(suffix, dtype, tmp_path):
    x = (POINTS if dtype.startswith("f") else RNG.integers(0, 200, (20, 3))).astype(dtype)
    columns = ("a", "größe", "b, c")
    out = write(x, tmp_path / "new" / f"x{suffix}", columns=columns)
    back = load(out, columns=columns if suffix == ".csv" else None)
    np.testing.assert_array_equal(back.x.astype(dtype), x)
    assert suffix != ".csv" or back.columns == columns


def test_whole_numbers_are_written_without_a_point(tmp_path):
    write(np.array([[1.0, 0.5], [2.0, 1.0]]), tmp_path / "x.csv", columns=("n", "v"))
    assert (tmp_path / "x.csv").read_text() == "n,v\n1,0.5\n2,1.0\n"


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_labels_go_with_points(suffix, tmp_path):
    out = write(POINTS, tmp_path / f"x{suffix}", labels=["a", "b"] * 10)
    back = load(out, "label" if suffix == ".csv" else None)
    assert [back.classes[k] for k in back.y] == ["a", "b"] * 10


BESIDE = {"said": ["a hat", 'two, "ß"'] * 10, "age": np.where(np.arange(20) % 5, np.arange(20) / 3, np.nan)}


@pytest.mark.parametrize("suffix", [".npz", ".csv", ""])
def test_captions_and_numbers_go_with_the_items(suffix, tmp_path):
    out = write(PICTURES if suffix == "" else POINTS, tmp_path / f"x{suffix}", beside=BESIDE, columns=("a", "b", "c"))
    back = load(out, caption="said", numbers=("age",))
    # A picture without its number is left out.
    kept = np.arange(20) if suffix else np.flatnonzero(np.arange(20) % 5)
    np.testing.assert_array_equal(back.x, (POINTS if suffix else PICTURES)[kept])
    assert back.captions == tuple(BESIDE["said"][i] for i in kept)
    np.testing.assert_array_equal(back.numbers[:, 0], BESIDE["age"][kept])
    with pytest.raises(BadInput, match=r"age has shape \(19,\) for 20 items"):
        write(PICTURES, tmp_path / "y", beside={"age": BESIDE["age"][1:]})


def test_metadata_of_others_are_never_replaced(tmp_path):
    """Samples with theirs are; a person's own captions, beside pictures with numbers for names, are not."""
    for _ in range(2):
        write(PICTURES, tmp_path / "ours", beside={"text": ["a hat"] * 20}, overwrite=True)
    home = tmp_path / "theirs"
    home.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(home / "00000.png")
    (home / "metadata.jsonl").write_text('{"file_name": "00000.png", "text": "my hat"}\n')
    for _ in range(2):
        with pytest.raises(BadInput, match=r"holds metadata\.jsonl, which is no sample"):
            write(PICTURES, home, overwrite=True)
        # Not even where samples were copied to them.
        (home / "00001.png").write_bytes((tmp_path / "ours" / "00001.png").read_bytes())
    for _ in range(2):
        write(PICTURES, tmp_path / "named", labels=["a", "b"] * 10, beside={"text": ["a hat"] * 20}, overwrite=True)


def test_names_that_an_npz_keeps_for_itself(tmp_path):
    beside = {name: RNG.normal(size=20) for name in ("x", "y", "file", "allow_pickle", "shape", "age")}
    out = write(PICTURES, tmp_path / "new.npz", beside=beside, labels=["a", "b"] * 10)
    with np.load(out, allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(["x", "y", "age"] + [f"{name} given" for name in beside if name != "age"])
        np.testing.assert_array_equal(arrays["x"], PICTURES)
        np.testing.assert_array_equal(arrays["file given"], beside["file"])


@pytest.mark.parametrize("event", [(6, 5), (6, 5, 3), (3, 6, 5), (6, 5, 4)])
def test_a_folder_reads_back_the_same(event, tmp_path):
    x = RNG.integers(0, 256, (12, *event)).astype(np.uint8)
    back = load(write(x, tmp_path / "out"), channels=4 if event[-1] == 4 else None).x
    np.testing.assert_array_equal(back, np.moveaxis(x, 1, -1) if event[0] == 3 else x)


def test_a_folder_with_classes(tmp_path):
    labels = ["a", "b/c", "..", "ü"] * 5
    out = write(PICTURES, tmp_path / "out", labels=labels)
    assert sorted(p.name for p in out.iterdir()) == ["_", "a", "b_c", "ü"]
    assert load(out).y.tolist().count(0) == 5
    assert (out / "a" / "00000.png").is_file()


def test_digits_are_spread_over_black_to_white(tmp_path):
    digits = load("digits").x[:10]
    back = load(write(digits, tmp_path / "out", bounds=(0.0, 16.0))).x
    np.testing.assert_array_equal(back, np.rint(digits / 16 * 255))


def test_the_grid_holds_every_picture(tmp_path):
    write(PICTURES, tmp_path / "grid.png")
    sheet = np.asarray(Image.open(tmp_path / "grid.png"))
    across = (sheet.shape[1] - 1) // 6
    for i, picture in enumerate(PICTURES):
        top, left = 1 + i // across * 7, 1 + i % across * 6
        np.testing.assert_array_equal(sheet[top : top + 6, left : left + 5], picture)


@pytest.mark.parametrize(
    ("x", "name", "options", "expected"),
    [
        (POINTS, "x.jpg", {}, r"cannot write .jpg files .* .npy, .npz, .csv or .png"),
        (POINTS, "x.png", {}, "no pictures"),
        (POINTS, "folder", {}, "no pictures"),
        (PICTURES[:0], "x.png", {}, "no pictures"),
        (PICTURES, "x.csv", {}, "holds rows of numbers"),
        (POINTS, "x.csv", {"columns": ("a",)}, "1 column names for 3 columns"),
        (POINTS, "x.npy", {"labels": [1]}, "1 labels for 20 items"),
        (PICTURES[..., :2], "x.png", {}, "2 channels"),
    ],
)
def test_refusals_leave_nothing_behind(x, name, options, expected, tmp_path):
    with pytest.raises(BadInput, match=expected) as caught:
        write(x, tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


OUTPUTS = [(POINTS, "x.npy"), (POINTS, "x.npz"), (POINTS, "x.csv"), (PICTURES, "x.png"), (PICTURES, "folder")]


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"]
)
@pytest.mark.parametrize(("x", "name"), OUTPUTS, ids=[name for _, name in OUTPUTS])
def test_a_failure_in_the_middle_leaves_the_old_and_nothing_else(x, name, failure, tmp_path, monkeypatch):
    out = write(x, tmp_path / name)
    before = _contents(tmp_path)
    suffix = out.suffix
    whole = writers.WRITERS[suffix]

    def fails(content, path):
        whole(content, path)
        raise failure

    monkeypatch.setitem(writers.WRITERS, suffix, fails)
    with pytest.raises((BadInput, KeyboardInterrupt)):
        write(x[::-1], out, overwrite=True)
    assert _contents(tmp_path) == before
    # The check can fail: a writer that does not stop changes the contents.
    monkeypatch.setitem(writers.WRITERS, suffix, whole)
    write(x[::-1], out, overwrite=True)
    assert _contents(tmp_path) != before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_between_two_renames_loses_nothing(tmp_path, overwrite):
    out = write(PICTURES, tmp_path / "out")
    before = _contents(out)
    program = (
        "import os, pathlib, sys, numpy as np\nfrom driftback.data import write\n"
        "usual = pathlib.Path.rename\n"
        "def rename(self, target):\n"
        "    if self.name.endswith('.part'): os._exit(9)\n"
        "    return usual(self, target)\n"
        "pathlib.Path.rename = rename\n"
        "write(np.zeros((3, 6, 5, 3), np.uint8), sys.argv[1], overwrite=True)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(out)], check=False).returncode == 9
    assert not out.exists()
    # What was there shows, whole, beside its place ...
    (aside,) = (p for p in tmp_path.iterdir() if not p.name.startswith("."))
    assert aside.name.startswith("out.")
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == {os.path.basename(k): v for k, v in before.items()}
    # ... and is put back by the next attempt, which treats it as any folder that is taken.
    if overwrite:
        write(PICTURES[::-1], out, overwrite=True)
        assert len(list(out.iterdir())) == len(PICTURES)
        assert _contents(out) != before
    else:
        with pytest.raises(BadInput, match="exists already"):
            write(PICTURES[::-1], out)
        assert _contents(out) == before
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["out"]


def _contents(folder):
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_taken_places(tmp_path):
    out = write(POINTS, tmp_path / "x.npy")
    with pytest.raises(BadInput, match="exists already"):
        write(POINTS, out)
    with pytest.raises(BadInput, match="cannot write"):
        write(POINTS, out / "y.npy")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match="is a folder already"):
        write(POINTS, tmp_path / "folder.csv")
    (tmp_path / "model").mkdir()
    write(PICTURES, tmp_path / "model")  # an empty folder is free
    write(PICTURES, tmp_path / "model", overwrite=True)  # samples written before may be replaced
    for own in ("config.json", "IMG_0001.png", "holiday.png"):
        (tmp_path / "model" / own).write_text("{}")
        with pytest.raises(BadInput, match=f"holds {own}, which is no sample"):
            write(PICTURES, tmp_path / "model", overwrite=True)
        (tmp_path / "model" / own).unlink()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write(POINTS, "~/x.npy") == tmp_path / "x.npy"
    assert os.listdir(tmp_path) == ["x.npy"]
