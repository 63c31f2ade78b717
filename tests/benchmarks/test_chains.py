"""The pieces of the chains' benchmark that need no rival: one density for all, counting, effective sizes, tables."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chains.py"
NAMES = ("eight-schools", "gaussian", "gaussian-rotated", "logistic")


@pytest.fixture(autouse=True)
def on_path(monkeypatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)


@pytest.fixture
def targets() -> ModuleType:
    return importlib.import_module("workers.chains_targets")


@pytest.fixture
def worker() -> ModuleType:
    return importlib.import_module("workers.chains")


@pytest.fixture
def tables() -> ModuleType:
    return importlib.import_module("workers.chains_table")


@pytest.fixture
def ours(monkeypatch) -> ModuleType:
    found = importlib.import_module("workers.chains_driftback")
    monkeypatch.setattr(found, "threads", lambda: 1)  # a worker's process may bind itself to processors; tests may not
    return found


@pytest.fixture
def chains(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("chains", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chains", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_everybody_has_the_density_of_driftbacks_own_target(targets, ours, name) -> None:
    x = torch.from_numpy(targets.points(name))
    own = targets.problem(name).target
    truth = {"log_prob": own.log_prob(x), "gradient": own.score(x)}
    leaf = x.clone().requires_grad_()
    value = targets.density(name, targets.TORCH)(leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    everybody = {
        "torch, as Pyro has it": {"log_prob": value.tolist(), "gradient": slope.tolist()},
        "numpy, as emcee has it": {"log_prob": targets.density(name, targets.NUMPY)(x.numpy()), "gradient": None},
        "ours": ours.Driftback().check(name),
    }
    assert len(x) == 20
    for who, theirs in everybody.items():
        assert targets.apart(truth, theirs) < 1e-9, who
    # Planted: a gradient with the wrong sign, and a density that lacks its prior or is half as steep.
    assert targets.apart(truth, {"log_prob": value.tolist(), "gradient": (-slope).tolist()}) > 0.1
    for wrong in (value + x.square().sum(1) / 2, value / 2, torch.full_like(value, torch.nan)):
        assert targets.apart(truth, {"log_prob": wrong.tolist(), "gradient": None}) > 1e-3


def test_a_density_of_one_point_is_that_of_many(targets) -> None:
    """JAX's libraries take points one by one, emcee all walkers at once."""
    for name in NAMES:
        x, density = targets.points(name), targets.density(name, targets.NUMPY)
        np.testing.assert_allclose([density(one) for one in x], density(x), rtol=1e-12)


def test_starts_are_the_same_for_everybody_and_spread_as_stans(targets) -> None:
    one, other = (targets.starts("logistic", 64, seed) for seed in (1, 2))
    np.testing.assert_array_equal(one, targets.starts("logistic", 64, 1))
    assert one.shape == (64, 31)
    assert not (one == other).any()
    assert np.abs(one).max() <= 2
    assert one.std() == pytest.approx(4 / 12**0.5, rel=0.05)  # 2,000 numbers know it to 1 %


def test_effective_draws_are_those_of_the_worst_quantity(worker, targets) -> None:
    """Exact draws of a Gaussian are all effective; one coordinate that repeats every draw five times decides."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 500, 100)) * np.sqrt(targets.covariance("gaussian").diagonal())
    exact = worker.judged("gaussian", x)
    assert 1200 < exact["ess"] <= 2300  # the least of a hundred readings
    assert exact["rhat"] < 1.02
    assert exact["off"] < 4.5  # of a hundred normal numbers: once in 1,500
    x[:, :, 7] = np.repeat(x[:, ::5, 7], 5, axis=1)
    slow = worker.judged("gaussian", x)
    assert 250 < slow["ess"] < 600
    x[:, :, 7] += 30 * np.arange(4)[:, None]
    apart = worker.judged("gaussian", x)
    assert apart["rhat"] > 1.1
    assert apart["off"] > 6
    alone = worker.judged("gaussian", x[:1])
    assert np.isfinite(alone["rhat"])  # of the halves of one chain


def test_ours_counts_every_gradient_and_takes_the_starts_it_is_given(worker, ours, targets, monkeypatch) -> None:
    calls = []
    own = ours.Lean.log_prob_and_score
    monkeypatch.setattr(ours.Lean, "log_prob_and_score", lambda self, x: calls.append(len(x)) or own(self, x))
    library, asked = ours.Driftback(), worker.Asked("gaussian", 3, 12, 30, "diag")
    library.met.add("gaussian")
    row = worker.measured(library, asked, 1)
    assert sum(row["evaluations"].values()) == sum(calls)
    assert row["evaluations"]["draw"] >= 3 * 12
    assert all(row["seconds"][phase]["wall"] > 0 for phase in ("warm", "draw"))
    assert row["seconds"]["compiled"]["wall"] == 0
    again = worker.measured(library, asked, 1)
    assert (again["ess"], again["evaluations"]) == (row["ess"], row["evaluations"])
    assert worker.measured(library, asked, 2)["ess"] != row["ess"]


def test_draws_of_another_shape_or_type_are_refused(worker) -> None:
    class Wrong:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x

        def run(self, asked: object, seed: int) -> object:
            return worker.Ran(self.x, (1, 1), worker.Clock(), worker.Clock())

    asked = worker.Asked("gaussian", 2, 20, 30, "diag")
    for x in (np.zeros((20, 2, 100)), np.zeros((2, 20, 100), np.float32), np.full((2, 20, 100), np.nan)):
        with pytest.raises(ValueError, match="not what was asked for"):
            worker.measured(Wrong(x), asked, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_rival_gets_its_chances(chains, name) -> None:
    """Both metrics with 64 chains, with 4 each chain's own tuning and one chain's for all; ours as it comes."""
    for rival in ("numpyro", "blackjax"):
        few, some = (chains.settings(rival, name, count) for count in (4, 64))
        assert {bool(one.settle) for one in few} == {True, False}
        assert {one.metric for one in some} == {"diag", "dense"}
        for count in (256, 1024):
            assert chains.settings(rival, name, count)
    for count in chains.CHAINS:
        mine = chains.settings("driftback", name, count)
        assert mine
        assert all(one.warmup == 0 for one in mine)
        theirs = {one.metric for one in chains.settings("blackjax", name, count)}
        assert mine[0].metric in theirs  # nobody is denied the metric that we use
    assert chains.settings("driftback", name, 1) == []


def row(library: str, setting: str, seed: int, **more: object) -> dict:
    seconds = {"warm": {"wall": 3.0}, "draw": {"wall": 1.0}, "compiled": {"wall": 0.0}}
    about = {"target": "gaussian", "chains": 64, "library": library, "setting": setting, "seed": seed}
    evaluations = {"warm": 100, "draw": 200}
    about |= {"cores_used_by_others": 0.1, "ess": 100.0, "rhat": 1.01, "off": 2.0}
    return about | {"seconds": seconds, "evaluations": evaluations} | more


def test_a_rival_is_read_in_its_best_setting(tables) -> None:
    ours = [row("driftback", "diag, default", seed, ess=ess) for seed, ess in ((1, 100.0), (2, 300.0))]
    theirs = [row("r", "dense, 1000", 1, ess=20.0), row("r", "diag, 300", 1, ess=50.0), row("r", "x", 1, failed="no")]
    assert tables.rate(ours[0], "seconds", "draw", "wall") == 100
    assert tables.rate(ours[0], "seconds", "all", "wall") == 25
    assert tables.rate(ours[0], "evaluations", "draw", "wall") == 0.5
    assert tables.rate(ours[0], "evaluations", "all", "wall") == pytest.approx(1 / 3)
    found = tables.best(theirs, "seconds", "draw", "wall")
    assert [one["setting"] for one in found] == ["diag, 300"]
    assert tables.compared(ours, found, "seconds", "draw", "wall") == "4 (2 .. 6)"
    found[0]["rhat"] = 1.3
    assert tables.compared(ours, found, "seconds", "draw", "wall") == "4 (2 .. 6) !"
    assert tables.best([row("r", "x", 1, failed="no")], "seconds", "draw", "wall") == []


def test_the_tables_of_a_saved_run_are_printed_without_measuring(tmp_path) -> None:
    facts = {"cpu": "c", "cores": 2, "system": "s", "threads": 2, "table_clock": "wall"}
    libraries = {
        "driftback": {"version": "1", "counts": "gradients"},
        "numpyro": {"version": "2", "counts": "gradients"},
        "emcee": {"version": "3", "counts": "densities"},
    }
    rows = [row("driftback", "diag, default", 1), row("numpyro", "diag, one chain tunes, 1000", 1, ess=50.0)]
    rows += [row("emcee", "stretch", 1, ess=10.0, rhat=1.5), row("numpyro", "dense", 1, failed="ValueError: no")]
    result = {"date": "2026-01-02", "machine": facts, "libraries": libraries, "rows": rows}
    result["apart"] = {"gaussian": {"numpyro": 1e-12}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    command = [sys.executable, SCRIPT, "--table", path]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "| gaussian | 64 | 100 | diag | 2 | 10 ! |" in done.stdout  # for a second, emcee too
    assert "| gaussian | 64 | 0.5 | diag | 2 |\n" in done.stdout  # for a gradient, which emcee has none of
    assert "| gaussian | 64 | numpyro | dense | ValueError: no |" in done.stdout
    assert "differ by 1e-12 at most" in done.stdout


@pytest.mark.slow
def test_it_runs_without_rivals(tmp_path) -> None:
    command = [sys.executable, SCRIPT, "--quick", "--libraries", "--threads", "1", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "Effective draws per second, sampling alone:" in done.stdout
    (path,) = tmp_path.glob("*-chains.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {row["chains"] for row in result["rows"]} == {4, 64}
    assert all(row["ess"] > 0 for row in result["rows"])
