"""`driftback sample` chooses its solver by a tolerance or a budget, and says what it spent."""

import json
from pathlib import Path

import pytest

import driftback as db


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moons") / "run"
    db.fit("two-moons", steps=200, n=1000, seed=0, out=out)
    return out


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
