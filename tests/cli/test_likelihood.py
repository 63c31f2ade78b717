"""`driftback likelihood`: what its steps contribute, and how usual items are."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import driftback as db
from driftback.cli import likelihood
from driftback.data.dataset import Dataset
from driftback.data.split import split
from driftback.networks.presets import NetworkSpec
from driftback.recipes.evaluate import RealItems

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
    assert result.code == 2
    assert "continuous is a bound, which has none: leave it out" in result.err


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
    alone = cli("likelihood", run / "run", run / "far.npy", "--n", 1, "--typicality", "--quiet")
    assert "typicality: p = 0.0" in alone.out


def test_held_out_items_are_not_compared_with_themselves(cli, run: Path) -> None:
    result = cli("likelihood", run / "run", "--typicality", "--quiet")
    assert result.code == 2
    assert "give DATA" in result.error


def test_bounds_by_name(cli, run: Path, digits: Path) -> None:
    result = cli("likelihood", run / "run", run / "near.npy", "--bound", "ddpm", "--steps", 30, "--json", "--quiet")
    assert result.code == 0, result.err
    assert set(result.json["terms"]) == {"L_T", "L_t", "L_0"}
    assert abs(sum(result.json["terms"].values()) + result.json["nats"]) < 1e-6
    said = cli("likelihood", run / "run", run / "near.npy", "--bound", "entropy", "--steps", 30, "--quiet")
    assert "Sohl-Dickstein's K, 30 steps" in said.out
    assert "nats: steps" in said.out
    refused = cli("likelihood", digits, "--bound", "entropy", "--quiet")
    assert refused.code == 2
    assert "take continuous or ddpm" in refused.error


def test_unlabelled_items_are_compared_with_unlabelled_ones(cli, tmp_path: Path) -> None:
    """Ten classes on a ring: log p(x) lies log 10 below log p(x | class), and is no sign of anything."""
    rng = np.random.default_rng(0)

    def ring(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 10, n)
        angle = 2 * np.pi * y / 10
        return 3 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.normal(size=(n, 2)), y

    x, y = ring(600)
    np.savez(tmp_path / "train.npz", x=x, y=y)
    np.save(tmp_path / "fresh.npy", ring(60)[0])
    words = ("--method", "edm", "--steps", 300, "--batch", 128, "--held-out", 0.2, "--quiet")
    assert cli("fit", tmp_path / "train.npz", "--label", "y", *words, "--out", tmp_path / "run").code == 0
    found = cli("likelihood", tmp_path / "run", tmp_path / "fresh.npy", "--typicality", "--json", "--quiet")
    assert found.code == 0, found.err
    assert found.json["unusual"] < 0.3


def test_known_items_are_a_part_of_all_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sorted by class that hold one exact copy: their held-out items come in the order of the file."""
    x = np.random.default_rng(0).normal(size=(6000, 2))
    x[1] = x[0]
    dataset = Dataset(x, np.repeat([0, 1], 3000), classes=("a", "b"))
    held = dataset.take(split(dataset)[1])
    assert (np.diff(held.y) >= 0).all(), "the first class comes first"
    monkeypatch.setattr("driftback.recipes.evaluate.original", lambda config: RealItems(dataset, held))
    model = SimpleNamespace(config=SimpleNamespace(source="sorted.npy"))
    some = likelihood._known(model, 0)
    assert len(some) == likelihood.MOST_KNOWN
    # Half of 500, give or take 4 standard deviations of a draw without replacement; the first 500 are all of one.
    assert abs(some.y.mean() - 0.5) < 4 * 0.5 / np.sqrt(500)
    assert not np.array_equal(some.x, likelihood._known(model, 1).x)


def test_rows_with_missing_values_are_refused(cli, run: Path) -> None:
    """Left out in silence they would shift the numbers of all later items."""
    (run / "gaps.csv").write_text("1,2\n,1\n0,1\n1,\n0,0\n0.5,1\n")
    refused = cli("likelihood", run / "run", run / "gaps.csv", "--per-item", "--quiet")
    assert refused.code == 2
    assert "2 of the 6 rows have missing values" in refused.error
    assert refused.out == ""


def test_what_says_how_to_read_data_wants_data(cli, run: Path) -> None:
    for option, value in (("--columns", "nix"), ("--size", "8"), ("--label", "nix"), ("--channels", 1)):
        refused = cli("likelihood", run / "run", option, value, "--quiet")
        assert refused.code == 2
        assert f"{option} says how to read DATA" in refused.error


def test_some_of_the_held_out_items_are_taken(cli, run: Path) -> None:
    every, some, other = (
        [one["nats"] for one in cli("likelihood", run / "run", *more, "--per-item", "--json", "--quiet").json["items"]]
        for more in ((), ("--n", 7), ("--n", 7, "--seed", 1))
    )
    for found in (some, other):
        assert len(found) == 7
        assert np.abs(np.array(found)[:, None] - np.array(every)).min(1).max() < 1e-3, "each is one of them"
        assert np.abs(np.array(found) - every[:7]).max() > 1e-2, "and they are not the first"
    assert np.abs(np.array(some) - other).max() > 1e-2
    refused = cli("likelihood", run / "run", "--n", len(every) + 1, "--quiet")
    assert refused.code == 2
    assert f"{len(every)} items were held out, fewer than --n {len(every) + 1}" in refused.error


def test_items_have_errors_and_evaluations_are_of_the_denoiser(cli, run: Path, digits: Path) -> None:
    found = cli("likelihood", digits, "--draws", 2, "--n", 1, "--per-item", "--quiet")
    assert found.code == 0, found.err
    item, mean, method = found.out.splitlines()[:3]
    assert item.startswith("item 0: -")
    assert item.count(" ± ") == mean.count(" ± ") == 1, "of one item the method's own error is known"
    assert method.endswith("; 6 evaluations per item")
    np.save(run / "one.npy", np.zeros((1, 2)))
    exact = cli("likelihood", run / "run", run / "one.npy", "--per-item", "--quiet")
    assert "±" not in exact.out
    assert "products of vectors with their Jacobian" in exact.out
    told = cli("likelihood", run / "run", run / "one.npy", "--json", "--quiet").json
    assert told["standard_error"] is None
    assert told["vector_products"] == 2 * told["evaluations"]


def test_draws_of_an_exact_density_are_refused(cli, run: Path) -> None:
    refused = cli("likelihood", run / "run", "--draws", 9, "--quiet")
    assert refused.code == 2
    assert "draws nothing: leave draws out" in refused.error


def test_what_cannot_be_compared_with_is_told_before_the_work(
    cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    db.fit(x, steps=1, network=SMALL, out=tmp_path / "memory", held_out=0.5)
    np.save(tmp_path / "few.npy", x)
    db.fit(tmp_path / "few.npy", steps=1, network=SMALL, out=tmp_path / "few", held_out=0.2)
    monkeypatch.setattr("driftback.recipes.model.Model.log_likelihood", None)
    for name, said in (("memory", "fitted on data in memory"), ("few", "of which this model has 12, and less than 20")):
        refused = cli("likelihood", tmp_path / name, run / "near.npy", "--typicality", "--quiet")
        assert refused.code == 2
        assert said in refused.error


def test_progress_is_told_on_standard_error(cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the items and of the known ones that they are compared with."""
    monkeypatch.setattr("driftback.cli.progress.EVERY", 0.0)
    words = ("likelihood", run / "run", run / "near.npy", "--bound", "ddpm", "--steps", 5, "--typicality", "--json")
    found = cli(*words)
    assert "items 30/70" in found.err
    assert "items 70/70" in found.err
    assert found.json["unusual"] < 1
    assert "items" not in cli(*words, "--quiet").err
