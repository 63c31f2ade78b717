"""`driftback sample` chooses its solver by a tolerance or a budget, and says what it spent."""

import json
from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.errors import BadInput
from driftback.recipes.way_back import Asked
from driftback.samplers import GRIDS, Ancestral


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moons") / "run"
    db.fit("two-moons", steps=200, n=1000, seed=0, out=out)
    return out


@pytest.mark.slow
def test_the_command_line_says_what_was_spent(cli, folder: Path, tmp_path: Path) -> None:
    result = cli("sample", folder, "-n", 10, "--evaluations", 12, "--out", tmp_path / "x.csv", "--json", "--quiet")
    record = json.loads(result.out)
    assert record["evaluations"] == 12
    result = cli("sample", folder, "-n", 10, "--steps", "auto", "--out", tmp_path / "y.csv", "--quiet")
    assert result.code == 0
    assert "evaluations each, error 0.0" in result.out
    near = cli("sample", folder, "-n", 10, "--tolerance", 1e-7, "--out", tmp_path / "z.csv", "--quiet")
    assert near.code == 0
    assert "--sampler" in near.err
    for wrong, said in ((("--steps", "many"), "auto"), (("--sampler", "hein"), "choose one of")):
        result = cli("sample", folder, *wrong, "--out", tmp_path / "w.csv", "--quiet")
        assert result.code == 2
        assert said in result.err
        assert len(result.err.strip().splitlines()) == 1


def test_what_was_reached_is_told(cli, folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("driftback.recipes.solver.LENGTHS", (4, 12))
    near = cli("sample", folder, "-n", 10, "--tolerance", 1e-9, "--out", tmp_path / "a.csv", "--json", "--quiet")
    assert near.json["error"] > 1e-9
    fixed = cli("sample", folder, "-n", 10, "--steps", 4, "--out", tmp_path / "b.csv", "--json", "--quiet")
    assert fixed.json["error"] is None
    model = db.load(folder)
    assert (model.sample(5, steps="auto") == model.sample(5)).all()


def test_a_sampler_that_blows_up_is_told(cli, folder: Path, tmp_path: Path) -> None:
    wild = cli(
        "sample", folder, "-n", 300, "--sampler", "adams-5", "--steps", 9, "--out", tmp_path / "a.csv", "--quiet"
    )
    assert "not stable" in wild.err
    calm = cli("sample", folder, "-n", 300, "--sampler", "deis-3", "--steps", 9, "--out", tmp_path / "b.csv", "--quiet")
    assert "not stable" not in calm.err


def test_adaptive_samplers_take_no_steps(cli, folder: Path, tmp_path: Path) -> None:
    result = cli("sample", folder, "--sampler", "adaptive", "--steps", 7, "--out", tmp_path / "a.csv")
    assert result.code == 2
    assert "leave steps out" in result.error


def test_a_grid_by_name_and_a_sampler_of_ones_own(cli, folder: Path, tmp_path: Path) -> None:
    model = db.load(folder)
    for grid in GRIDS:
        out = tmp_path / f"{grid}.npy"
        asked = ("--sampler", "ddim", "--steps", 9, "--grid", grid)
        result = cli("sample", folder, "-n", 5, *asked, "--out", out, "--quiet")
        assert result.code == 0, result.err
        own = model.sample(5, sampler=lambda d: Ancestral(d, eta=0.0), steps=9, grid=grid)
        assert (np.load(out) == own).all()
    # Every grid is another way: a grid that is read and then forgotten would give one result.
    assert len({np.load(tmp_path / f"{grid}.npy").tobytes() for grid in GRIDS}) == len(GRIDS)
    assert (model.sample(5, sampler="ddim", steps=9) == np.load(tmp_path / "karras.npy")).all()
    for wrong, said in (
        (("--grid", "karas"), "choose one of uniform, karras"),
        (("--grid", "cosine", "--tolerance", 0.1), "leave grid out"),
        (("--grid", "cosine", "--sampler", "adaptive"), "leave grid out"),
    ):
        result = cli("sample", folder, *wrong, "--out", tmp_path / "w.csv", "--quiet")
        assert result.code == 2
        assert said in result.error
    with pytest.raises(BadInput, match="function of a denoiser"):
        model.sample(5, sampler=3)  # type: ignore[arg-type]


def test_the_budget_holds_where_the_end_is_denoised(tmp_path: Path) -> None:
    model = db.fit("two-gaussians", n=500, steps=5, method="score-sde-ve", seed=0)
    assert model.draw(5, Asked(evaluations=11)).evaluations == 11
