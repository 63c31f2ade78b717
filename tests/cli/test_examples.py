"""Every example that a help shows is run, in a folder that has what it names; models are small, and fits short."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftback.cli.app import COMMANDS

SOLVER = """from driftback.samplers import Heun


def sampler(denoiser):
    return Heun(denoiser)
"""
DENSITY = "def log_prob(x):\n    return -(x**2).sum(-1) / 2\n\n\ndimension = 2\n"
PRICES = "def log_prob(x):\n    return -(300 - x[:, 2]).clamp(min=0) / 50\n"
FITTED = {
    "digits": ("digits", "--steps", 5, "--batch", 8),
    "moons": ("two-moons", "--n", 300, "--steps", 40),
    "photos": ("photos/", "--size", 32, "--steps", 2, "--batch", 4),
    "houses": ("houses.csv", "--steps", 40),
    "emoji": ("emoji.npz", "--caption", "caption", "--steps", 2, "--batch", 4),
}
EXAMPLES = [(module.__name__.rpartition(".")[2], example) for module in COMMANDS for example in module.EXAMPLES]


@pytest.fixture(scope="module")
def home(tmp_path_factory, cli) -> Path:
    """A folder with all files and models that the examples name."""
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / "photos" / name).mkdir(parents=True)
        for k in range(8):
            Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(folder / "photos" / name / f"{k}.png")
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "a.png")
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 255
    Image.fromarray(mask).save(folder / "m.png")
    rooms = rng.integers(1, 8, 200)
    houses = np.column_stack([rooms, 25 * rooms + rng.normal(size=200), 60 * rooms + rng.normal(size=200)])
    np.savetxt(folder / "houses.csv", houses, delimiter=",", header="rooms,area,price", comments="", fmt="%.1f")
    np.savetxt(folder / "fresh.csv", rng.normal(size=(60, 2)), delimiter=",", header="x,y", comments="")
    people = rng.normal([170, 70], [9, 12], (100, 2))
    np.savetxt(folder / "points.csv", people, delimiter=",", header="height,weight", comments="")
    words = np.array(["a red heart", "a blue star"] * 8)
    np.savez(folder / "emoji.npz", x=rng.integers(0, 256, (16, 16, 16, 3), np.uint8), caption=words)
    for name, text in (("my_solver.py", SOLVER), ("my_density.py", DENSITY), ("prices.py", PRICES)):
        (folder / name).write_text(text, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in FITTED.items():
            done = cli("fit", *words, "--out", f"runs/{name}", "--seed", 0, "--quiet")
            assert done.code == 0, done.err
    return folder


def short(command: str, example: str) -> list[str]:
    """The words of an example, a fit being of seconds."""
    words = shlex.split(example)[1:]
    if "--minutes" in words:
        words[words.index("--minutes") + 1] = "0.05"
    elif command == "demo":
        words += ["--minutes", "0.05"]
    return words


@pytest.mark.slow
@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_an_example_runs(command, example, home, cli, monkeypatch) -> None:
    monkeypatch.chdir(home)
    words = short(command, example)
    if command in ("fit", "demo") and "--resume" not in words:
        out = words[words.index("--out") + 1] if "--out" in words else "runs/digits"
        shutil.rmtree(out, ignore_errors=True)
    done = cli(*words)
    # A solver or a model that is found wanting is a result: status 1.
    assert done.code in ((0, 1) if command == "verify" else (0,)), done.err
    assert "Traceback" not in done.out + done.err
    if "--out" in words:
        assert (home / words[words.index("--out") + 1]).exists()
