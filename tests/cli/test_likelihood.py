"""`driftback likelihood`: what its steps contribute, and how usual items are."""

from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.networks.presets import NetworkSpec

SMALL = NetworkSpec(kind="mlp", widths=(32,), depth=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points that are read from a file, so that they can be read again."""
    home = tmp_path_factory.mktemp("likelihood")
    rng = np.random.default_rng(0)
    np.save(home / "data.npy", rng.normal(size=(200, 2)) * [1.0, 2.0])
    np.save(home / "near.npy", rng.normal(size=(30, 2)) * [1.0, 2.0])
    np.save(home / "far.npy", 9 + rng.normal(size=(20, 2)))
    db.fit(home / "data.npy", steps=60, batch=64, seed=0, out=home / "run", network=SMALL)
    return home


def test_the_steps_contribution_is_told(cli, run: Path) -> None:
    result = cli("likelihood", run / "run", run / "near.npy", "--check", "--json", "--quiet")
    assert result.code == 0, result.err
    assert 0 < result.json["discretisation"] < 1e-2
    plain = cli("likelihood", run / "run", run / "near.npy", "--json", "--quiet")
    assert "discretisation" not in plain.json
    assert plain.json["evaluations"] < result.json["evaluations"]
    assert abs(plain.json["nats"] - result.json["nats"]) < 1e-2


def test_a_bound_has_no_steps(cli, digits: Path) -> None:
    result = cli("likelihood", digits, "--draws", 2, "--check", "--quiet")
    assert result.code == 0, result.err
    assert "this is a bound" in result.err


def test_unusual_items_are_told(cli, run: Path) -> None:
    near = cli("likelihood", run / "run", run / "near.npy", "--typicality", "--json", "--quiet")
    far = cli("likelihood", run / "run", run / "far.npy", "--typicality", "--per-item", "--json", "--quiet")
    assert near.json["unusual"] < 0.4
    assert far.json["unusual"] == 1.0
    assert all(item["p"] < 0.05 for item in far.json["items"])
    told = cli("likelihood", run / "run", run / "far.npy", "--typicality", "--per-item", "--check", "--quiet")
    assert "the steps contribute about" in told.out
    assert "unusual: 100.0 %" in told.out
    assert ", p = 0.0" in told.out


def test_held_out_items_are_not_compared_with_themselves(cli, run: Path) -> None:
    result = cli("likelihood", run / "run", "--typicality", "--quiet")
    assert result.code == 2
    assert "give DATA" in result.error
