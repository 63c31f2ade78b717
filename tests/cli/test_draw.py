"""`driftback draw` on the command line: a name or a file in, points and plain sentences out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from driftback.cli import draw as command
from driftback.recipes.density import draw as module

FEW = ("--chains", 4, "--warmup", 30, "--quiet")


def test_names_are_listed(cli) -> None:
    found = cli("draw", "--json").json
    assert {"eight-schools", "gmm40"} <= {one["name"] for one in found["targets"]}
    assert {"nuts", "metropolis"} <= {one["name"] for one in found["methods"]}
    assert "eight-schools" in cli("draw").out


def test_one_object_on_standard_output(cli, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    result = cli("draw", "eight-schools", "-n", 200, *FEW, "--seed", 3, "--out", out, "--json")
    found = result.json
    assert {"method", "n", "chains", "log_z", "density_evaluations", "gradient_evaluations", "diagnostics"} <= set(
        found
    )
    assert found["n"] == 200
    assert np.load(out).shape == (200, 10)
    assert found["diagnostics"]["rows"][0]["name"] == "mu"
    again = cli("draw", "eight-schools", "-n", 200, *FEW, "--seed", 3, "--out", tmp_path / "y.npy", "--json")
    assert (np.load(tmp_path / "y.npy") == np.load(out)).all()
    assert again.json["diagnostics"]["rows"] == found["diagnostics"]["rows"]


def test_every_suffix(cli, tmp_path: Path) -> None:
    for name in ("a.csv", "a.npz", "folder"):
        result = cli("draw", "banana", "-n", 40, *FEW, "--out", tmp_path / name)
        assert result.code == 0, result.err
        assert "40 points are in" in result.out
        taken = cli("draw", "banana", "-n", 40, *FEW, "--out", tmp_path / name)
        assert taken.code == 2
        assert taken.error
        assert cli("draw", "banana", "-n", 40, *FEW, "--out", tmp_path / name, "--force").code == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 41
    kept = np.load(tmp_path / "a.npz")
    assert kept["x"].shape == (40, 2)
    assert kept["chains"].shape == (4, 10, 2)
    assert np.load(tmp_path / "folder" / "draws.npy").shape == (40, 2)
    assert json.loads((tmp_path / "folder" / "diagnostics.json").read_text())["n"] == 40


def test_particles_are_no_chains_to_plot(cli, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    refused = cli("draw", "two-gaussians", "-n", 40, "--method", "smc", "--plot", tmp_path / "x.png", "--out", out)
    assert "has none" in refused.error
    assert not out.exists()
    assert cli("draw", "two-gaussians", "-n", 40, *FEW, "--out", tmp_path / "run", "--quiet").code == 0
    refused = cli("draw", "two-gaussians", "--method", "smc", "--out", tmp_path / "run", "--force")
    assert "needs no folder" in refused.error
    assert (tmp_path / "run" / "draw.json").exists()
    assert cli("draw", "two-gaussians", "-n", 40, "--method", "smc", "--out", out, "--quiet").code == 0
    assert set(np.load(out)["families"]) == {0, 1, 2, 3}


FILE = """
import torch

event_shape = (2,)
names = ("height", "width")


def log_prob(x):
    return -(x**2).sum(1) / 2
"""


def test_a_file_of_ones_own(cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE, "utf-8")
    result = cli("draw", tmp_path / "mine.py", "-n", 400, *FEW)
    assert result.code == 0, result.err
    assert "height" in result.out
    plotted = cli("draw", tmp_path / "mine.py", "-n", 400, *FEW, "--plot", tmp_path / "plot.png")
    assert plotted.code == 0
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_file_may_say_where_chains_start(cli, tmp_path: Path) -> None:
    far = "import torch\n" + PLAIN.replace("return", "return torch.where(x[:, 0] < 50, -torch.inf, 0) +")
    (tmp_path / "mine.py").write_text(far, "utf-8")
    lost = cli("draw", tmp_path / "mine.py", "-n", 40, *FEW)
    assert "no point with a density" in lost.error
    assert "in a file start = " in lost.error
    (tmp_path / "mine.py").write_text(far + "start = (51.0, 0.0)\n", "utf-8")
    found = cli("draw", tmp_path / "mine.py", "-n", 40, *FEW, "--method", "metropolis", "--out", tmp_path / "x.npy")
    assert found.code == 0, found.err
    assert (np.load(tmp_path / "x.npy")[:, 0] > 50).all()
    (tmp_path / "mine.py").write_text(far + "start = (51.0, 0.0, 0.0)\n", "utf-8")
    assert "start has shape (3,)" in cli("draw", tmp_path / "mine.py", "-n", 40, *FEW).error


OBJECT = "class T:\n    event_shape = (2,)\n    def log_prob(self, x):\n        return 1 / 0\n"
PLAIN = "event_shape = (2,)\ndef log_prob(x):\n    return -(x**2).sum(1) / 2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "line 1: ZeroDivisionError when it was run"),
        ("event_shape = (2,)", "defines no log_prob"),
        ("def log_prob(x):\n    return x.sum(1)", "add event_shape"),
        ("event_shape = (2,)\ndef log_prob(x):\n    return -(x @ x).sum(1)", "line 3: RuntimeError in log_prob"),
        ("event_shape = (2,)\ndef log_prob(x):\n    return x.sum(1) * 0", "the same number everywhere"),
        ("event_shape = (2,)\ndef log_prob(x):\n    return -(x**2).sum(1) + x.sum(1).log()", "NaN in chain"),
        ("def log_prob(x:", "SyntaxError"),
        ("event_shape = (2,)\ndef logp(x):\n    return x.sum(1)", "defines no log_prob(x), but logp"),
        (PLAIN + "log_z = 'big'", "mine.py: log_z must be a number, not 'big'"),
        (PLAIN + "scale = -1", "mine.py: scale is -1.0"),
        (PLAIN + "values = 3", "mine.py: values are 3; give the two numbers"),
        (PLAIN.replace("(2,)", "'two'"), "mine.py: shape must be a whole number, not 'two'"),
        (PLAIN + "names = ('a', 'b', 'c')", "3 names for 2 quantities"),
        (PLAIN + "def quantities(x):\n    return 1 / 0", "line 5: ZeroDivisionError in quantities"),
        (PLAIN + "def gradient(x):\n    return 1 / 0", "line 5: ZeroDivisionError in gradient"),
        (PLAIN + "def gradient(x):\n    return x", "the gradient that was given is not that of log_prob"),
        (
            "class T:\n    event_shape = (2,)\n    def log_prob(self, x):\n        return 1 / 0\ntarget = T()",
            "line 4: Zero",
        ),
        (
            "class T:\n    event_shape = (2,)\n    def log_prob(self, x):\n        return 1 / 0\ntarget = T",
            "is a class",
        ),
        ("target = 3", "mine.py: target is a int"),
    ],
)
def test_a_file_that_fails_is_told_in_a_line(cli, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text, "utf-8")
    result = cli("draw", tmp_path / "mine.py", *FEW)
    assert result.code == 2
    assert said in result.error


def test_what_was_drawn_before_a_file_fails_is_kept(cli, tmp_path: Path) -> None:
    """What the file raises late, in whatever words, costs none of the points before it."""
    late = "calls = []\n" + PLAIN.replace(
        "return", "calls.append(0)\n    assert len(calls) < 60, 'one\\ntwo'\n    return"
    )
    (tmp_path / "mine.py").write_text(late, "utf-8")
    words = ("draw", tmp_path / "mine.py", "-n", 4000, *FEW, "--method", "metropolis", "--out", tmp_path / "x.npy")
    result = cli(*words)
    assert result.code == 2
    assert "line 5: AssertionError in log_prob: one two" in result.error
    kept = np.load(tmp_path / "x.npy")
    assert f"the {len(kept)} points before it are in" in result.error
    assert 0 < len(kept) < 4000


@pytest.mark.parametrize(
    "words",
    [
        ("funnle",),
        ("funnel", "--method", "nuds"),
        ("funnel", "--set", "depth"),
        ("funnel", "--set", "depth=many"),
        ("funnel", "--set", "length=3"),
        ("funnel", "--resume"),
        ("funnel", "--out", "x.txt"),
        ("funnel", "--out", "x.npy", "--resume"),
        ("funnel", "--set", "seed=3"),
        ("funnel", "--set", "shape=3"),
        ("funnel", "--plot", "x.gif"),
    ],
)
def test_what_cannot_be_asked_is_told(cli, tmp_path: Path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("draw", *words, *FEW)
    assert result.code == 2
    assert result.error
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_is_told_how_to_go_on(cli, tmp_path: Path, monkeypatch) -> None:
    keep = module.Run._keep

    def stopping(run, state, move) -> None:
        keep(run, state, move)
        if run.done == 5:
            monkeypatch.setattr(module.Run, "_keep", keep)
            raise KeyboardInterrupt

    monkeypatch.setattr(module.Run, "_keep", stopping)
    out = tmp_path / "run"
    result = cli("draw", "banana", "-n", 80, *FEW, "--out", out)
    assert result.code == 130
    assert "--resume" in result.error
    assert np.load(out / "draws.npy").shape == (20, 2)
    rest = cli("draw", "banana", "-n", 80, *FEW, "--out", out, "--resume")
    assert rest.code == 0, rest.err
    whole = cli("draw", "banana", "-n", 80, *FEW, "--out", tmp_path / "x.npy")
    assert whole.code == 0
    assert (np.load(out / "draws.npy") == np.load(tmp_path / "x.npy")).all()
    assert command.Stopped.code == 130


def test_places_are_looked_at_before_anything_is_drawn(cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.Run, "go", lambda *given: pytest.fail("it drew"))
    (tmp_path / "a.png").write_bytes(b"")
    for words, said in (
        (("--plot", tmp_path / "a.png"), "exists already; replace it with --force"),
        (("--plot", tmp_path / "a.png" / "b.png"), "a.png is a file and no folder"),
        (("--out", tmp_path / "a.png" / "b.npy"), "a.png is a file and no folder"),
    ):
        result = cli("draw", "banana", "-n", 40, *FEW, *words)
        assert result.code == 2
        assert said in result.error


def test_what_cannot_be_plotted_costs_no_draws(cli, tmp_path: Path) -> None:
    result = cli("draw", "banana", "-n", 4, *FEW, "--out", tmp_path / "x.npy", "--plot", tmp_path / "x.png")
    assert result.code == 2
    assert "4 points by nuts" in result.out
    assert "no plot: 1 draw per chain is too few" in result.error
    assert f"the 4 points are in {tmp_path / 'x.npy'}" in result.error


def test_points_of_unequal_weights_are_drawn_again_where_there_is_no_room_for_weights(cli, tmp_path: Path) -> None:
    """Half of the particles lie where the target has no mass: a file of bare points must not hold them."""
    bounded = "import torch\n" + PLAIN.replace("return", "return torch.where(x[:, 0] < 0, -torch.inf, 0) +")
    (tmp_path / "mine.py").write_text(bounded, "utf-8")
    for name in ("x.npy", "x.csv", "x.npz"):
        words = ("draw", tmp_path / "mine.py", "-n", 400, "--method", "ais", "--quiet", "--out", tmp_path / name)
        assert ("drawn again by their weights" in cli(*words).out) == (name != "x.npz")
    assert (np.load(tmp_path / "x.npy")[:, 0] >= 0).all()
    assert (np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1)[:, 0] >= 0).all()
    with np.load(tmp_path / "x.npz") as kept:
        assert (kept["x"][:, 0] < 0).any()
        assert (kept["log_weights"][kept["x"][:, 0] < 0] == -np.inf).all()


def test_what_draws_are_worth_is_told_per_second_and_per_gradient(cli) -> None:
    result = cli("draw", "banana", "-n", 400, *FEW, "--json")
    again = cli("draw", "banana", "-n", 400, *FEW)
    assert f"{result.json['diagnostics']['ess_per_gradient']:.3g} per gradient" in again.out
    assert " a second" in again.out
    numbers = " ".join(cli("draw").out.split())
    assert "--set" in numbers
    assert "depth 10 nuts" in numbers
    assert "moves 1, 20 (refined) flips, informed-flips, smc, ais, refined" in numbers
