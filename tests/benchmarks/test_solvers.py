"""The pieces of the solvers' benchmark that need no rival: its problems, its truth, its counting, its search."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from driftback.distributions.mixture import Mixture

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "solvers.py"


@pytest.fixture(autouse=True)
def on_path(monkeypatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)


@pytest.fixture
def mixtures():
    return importlib.import_module("workers.mixtures")


@pytest.fixture
def scan():
    return importlib.import_module("workers.scan")


@pytest.fixture
def components():
    return importlib.import_module("workers.components")


@pytest.fixture
def ours():
    return importlib.import_module("workers.solvers_driftback")


@pytest.mark.parametrize("dimension", [2, 10])
def test_a_problem_is_the_same_every_time_and_as_wide_as_it_says(mixtures, dimension) -> None:
    one, other = (mixtures.Problem(dimension, 3, 2000) for _ in range(2))
    assert torch.equal(one.start, other.start)
    assert torch.equal(one.means, other.means)
    within = (one.weights[..., None, None] * (one.means**2)[..., None]).sum((1, 2)).squeeze(-1) / dimension
    total = within + (one.weights * one.widths.square().mean(2)).sum(1)
    torch.testing.assert_close(total.sqrt(), torch.full((3,), 0.5, dtype=torch.float64))
    assert one.widths.min() >= 0.05 - 1e-9
    assert one.widths.max() <= 0.3 + 1e-9
    assert not torch.equal(one.means[0], one.means[1])


def test_its_denoiser_is_the_librarys(mixtures) -> None:
    problem = mixtures.Problem(10, 2, 5)
    x = torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sigma in (0.05, 1.0, 80.0):
        found = problem.denoised(x, sigma).reshape(2, 5, 10)
        for seed in range(2):
            axes, widths = problem.axes[seed], problem.widths[seed]
            covariances = (axes * widths[:, None] ** 2) @ axes.mT
            mixture = Mixture(problem.weights[seed], problem.means[seed], covariances)
            torch.testing.assert_close(found[seed], mixture.denoised(x.reshape(2, 5, 10)[seed], 1.0, sigma))
        slope = (x - problem.denoised(x, sigma)) / sigma
        torch.testing.assert_close(problem.slope(x, sigma), slope, rtol=1e-9, atol=1e-9)


def test_the_truth_stands_still_and_a_good_solver_falls_towards_it(mixtures, scan, ours) -> None:
    problem = mixtures.Problem(2, 2, 20)
    truth = problem.truth()[-1]
    assert (truth - problem.truth(1e-10)[-1]).abs().max() < 1e-8
    assert (truth - problem.truth(levels=scan.LOWS[::-1])[-1]).abs().max() < 1e-8
    heun = next(solver for solver in ours.SOLVERS if solver.name == "Heun")
    setting = scan.Setting("rho 7", 0.002, "stop")
    errors = [scan.read(heun, setting, problem, truth, evaluations).error for evaluations in (50, 100, 400)]
    assert errors[0] > 2 * errors[1] > 8 * errors[2]
    assert errors[2] < 3e-4
    assert min(problem.errors(truth + 0.1, truth)) > 0.09  # a planted fault is seen


@pytest.mark.parametrize("name", ["Heun", "euler"])
@pytest.mark.parametrize("end", ["stop", "denoised", "zero"])
def test_evaluations_are_counted(mixtures, scan, ours, name, end) -> None:
    solver = next(solver for solver in ours.SOLVERS if solver.name == name)
    problem = mixtures.Problem(2, 1, 3)
    x, spent = solver.run(scan.Setting("log", 0.01, end), problem, 21)
    asked = 20 if (name, end) == ("Heun", "stop") else 21
    assert spent == asked
    assert x.shape == (3, 2)


def test_every_grid_goes_down_from_where_the_points_are(scan) -> None:
    for warp in scan.WARPS:
        for end in ("stop", "denoised", "zero"):
            sigmas = scan.Setting(warp, 0.002, end).sigmas(12)
            assert sigmas.shape == (13,)
            assert sigmas[0] == 80
            assert (sigmas.diff() < 0).all()
            assert sigmas[-1] == (0.0 if end == "zero" else 0.002)


def test_the_search_finds_the_fewest_evaluations(mixtures, scan) -> None:
    problem = mixtures.Problem(2, 2, 10)
    truth = problem.truth(levels=scan.LOWS[::-1])

    def walk(denoise, x, sigmas):
        for sigma in sigmas[:-1]:
            denoise(x, sigma)
        return truth[-1] + 0.99 / (len(sigmas) - 1) ** 2

    solver = scan.Solver("a rule of second order", walk, ends=("zero",), warps=("log",))
    found = scan.search(solver, (problem, truth), (problem, truth), [1e-2, 1e-3, 1e-4])
    assert found["0.01"]["evaluations"] == 10
    assert found["0.001"]["evaluations"] == 32
    assert found["0.0001"]["evaluations"] == 100


def test_exact_draws_have_the_right_components_and_shrunk_ones_do_not(mixtures, components) -> None:
    problem, more = mixtures.Problem(2, 3, 4000), mixtures.Problem(2, 3, 8000)
    exact = components.moments(more, more.clean)
    found = components.compared(problem, problem.clean, exact)
    assert abs(found["mean"] - 1) < 0.02  # about 30 deviations, each known to 2 %
    assert abs(found["worst"] - 1) < 0.12
    assert found["weights"] < 0.03
    assert found["off"] < 0.03
    assert components.compared(problem, 0.9 * problem.clean, exact)["mean"] < 0.95
    # Draws that are all in one place leave components without any: these count as lost, and nothing is NaN.
    lost = components.compared(problem, problem.clean[:1].expand_as(problem.clean), exact)
    assert lost["mean"] == pytest.approx(0.0, abs=1e-3)
    assert lost["worst"] == 0.0


@pytest.mark.slow
def test_the_tables_of_a_saved_run_are_printed_without_measuring(tmp_path) -> None:
    needs = {"0.01": {"evaluations": 17, "setting": "log, 0.01, stop", "errors": [0.01, 0.02]}}
    rows = [
        {"library": name, "solver": "s", "steps": None, "needs": needs, "floor": 1e-5} for name in ("driftback", "r")
    ]
    draw = {"library": "r", "solver": "n", "steps": 32, "evaluations": 32, "setting": "g", "mean": 0.9, "error": 0.01}
    draw |= {"worst": 0.8, "worst component": 0.85, "off": 0.1, "weights": 0.01}
    result = {
        "date": "2026-01-02",
        "machine": {"cpu": "c", "cores": 2, "system": "s"},
        "libraries": {"driftback": {"version": "1"}, "r": {"version": "2"}},
        "solve": {"2": rows},
        "draw": {"2": [draw, {"library": "r", "solver": "m", "steps": 32, "failed": "no"}]},
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    run = subprocess.run([sys.executable, SCRIPT, "--table", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "| 2 | 0.01 | driftback | s | log, 0.01, stop | 17 |" in run.stdout
    assert "more than 240" in run.stdout
    assert "0.9000 ± 0.0100" in run.stdout
