"""The benchmarks of issue six's subjects: what they measure is right where it is known, and their tables say it."""

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, f"bench_{name}", module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("workers.posteriors")


MACHINE = {"cpu": "a", "cores": 2}


def row(distance: float, **more: float) -> dict:
    told = {"distance": distance, "mean": 0.1, "spread": 1.0, "covariance": 0.2, "weights": 0.03, "finite": True}
    return told | {"passes": 100} | more


def test_the_best_setting_of_each_method_is_shown(script) -> None:
    posteriors = script("posteriors")
    shared = {"d": 2, "rank": 1, "seconds": 1.0}
    lines = [
        shared | {"method": "mmps", "setting": {"steps": 50}, "rows": [row(4.0), row(6.0)]},
        shared | {"method": "mmps", "setting": {"steps": 200}, "rows": [row(2.0), row(3.0)]},
        shared | {"method": "dps", "setting": {"zeta": 1.0}, "rows": [row(1.0), {"failed": "ValueError"}]},
        shared | {"method": "dps", "setting": {"zeta": 0.1}, "rows": [row(9.0), row(9.0)]},
    ]
    ranked = {"d": 2, "rank": 1, "method": "mmps", "p": 0.5, "lean": 0.01, "excess": 1.1, "covered": 0.91}
    result = {"date": "d", "machine": MACHINE, "seeds": 2, "lines": lines, "calibration": [ranked]}
    told = posteriors.table(result)
    assert "| mmps | 2.50 (100) |" in told
    assert "| dps | 9.00 (100) |" in told, "a setting that fails for one problem is no setting"
    assert "| d = 2, rank 1 | mmps | 0.5 | +0.010 | 1.10 | 91 % |" in told


def test_exact_draws_are_one_floor_away_and_wrong_ones_are_not(worker) -> None:
    problem = worker.Problem(2, 1, 0)
    x = problem.truth.sample(worker.DRAWS, rng=77)
    found = problem.judged(x)
    assert 0.5 < found["distance"] < 2
    assert found["spread"] == pytest.approx(1.0, abs=0.2)
    assert found["weights"] < 0.1
    # Planted faults: draws of the prior, and draws that are moved by half a deviation.
    assert problem.judged(problem.prior.sample(worker.DRAWS, rng=1))["distance"] > 3
    assert problem.judged(x + 0.25)["distance"] > 3


def test_exact_draws_are_calibrated_and_the_priors_are_not(worker, monkeypatch) -> None:
    monkeypatch.setattr(worker, "BATCHES", 4)
    prior = lambda problem, setting, rng: (problem.prior.sample(worker.DRAWS, rng=rng), 0)  # noqa: E731
    monkeypatch.setattr(worker, "CALIBRATED", {"exact": (worker.exactly, {}), "prior": (prior, {})})
    exact, blind = worker.calibration(2, 2)
    assert exact["p"] > 1e-3
    assert exact["covered"] == pytest.approx(0.9, abs=0.05)
    # Ranks of truths among draws of the prior are uniform too, for it is calibrated, only useless; moved ones are not.
    assert blind["p"] > 1e-3
    moved = lambda problem, setting, rng: (problem.prior.sample(worker.DRAWS, rng=rng) + 0.2, 0)  # noqa: E731
    monkeypatch.setattr(worker, "CALIBRATED", {"moved": (moved, {})})
    assert worker.calibration(2, 2)[0]["p"] < 1e-6


@pytest.mark.parametrize("name", ["mmps, ancestral", "smc, isotropic", "dps"])
def test_our_methods_draw(worker, name) -> None:
    draw, settings = worker.OURS[name]
    problem = worker.Problem(2, 1, 0)
    x, passes = draw(problem, settings[0] | {"steps": 10, "particles": worker.DRAWS}, worker.Rng(0))
    assert x.shape == (worker.DRAWS, 2)
    assert torch.isfinite(x).all()
    assert passes > 0


def test_likelihoods_are_compared_at_equal_error(script) -> None:
    likelihoods = script("likelihoods")
    lines = [
        {"library": "driftback", "seed": seed, "setting": {"tolerance": t}, "error": error, "evaluations": spent}
        for seed in (0, 1)
        for t, error, spent in ((1e-2, 0.02, 30), (1e-4, 5e-4, 60 + 2 * seed), (1e-6, 5e-6, 200))
    ]
    lines += [{"library": "x", "seed": 0, "setting": {"steps": 9}, "error": 0.5, "evaluations": 9}]
    assert likelihoods.needed(lines[:6], 1e-3) == (61.0, "tolerance 0.0001")
    coverage = {"dimension": 20, "trials": 1000, "probes": 8, "covered": 0.951, "one probe's error": 0.4}
    told = likelihoods.table({"date": "d", "machine": MACHINE, "lines": lines, "coverage": coverage})
    assert "| 0.001 | 61 (tolerance 0.0001) | not reached |" in told
    assert "95.1 % of 1000 trials" in told


def test_the_dense_formula_is_what_the_tree_is_compared_with(script) -> None:
    scores = script("scores")
    points = scores.spiral(500)
    y = scores.queries(points, 0.3, 20)
    far = ((y[:, None] - points) ** 2).sum(2)
    exact = torch.softmax(-far / (2 * 0.09), 1) @ points
    assert torch.allclose(scores.dense(points, y, 0.3), exact, atol=1e-12)
    rows = scores.plane(2000, 50)
    assert max(r["error"] for r in rows) < 1e-3
    result = {"date": "d", "machine": MACHINE, "points": 2000, "queries": 50, "plane": rows}
    result |= {"pictures": {"items": 5, "queries": 2, "rows": [{"ratio": 0.5, "seconds": 1.0}], "peak MiB": 300.0}}
    assert "300 MiB at most" in scores.table(result)
    assert "| 0.001 |" in scores.table(result)


def test_the_swiss_rolls_denoiser_is_that_of_its_density(script) -> None:
    """Its score is the gradient of the log-density with the noise added to the curve's own."""
    swiss = script("swiss_roll")
    roll = swiss.Roll()
    x = roll.sample(200, 0)
    assert float(x.var(0).mean()) == pytest.approx(1.0, abs=0.1)
    process = swiss.Diffusion(swiss.EDM(80.0), (2,), 1.0)
    for sigma in (0.1, 1.0, 5.0):
        y = x + sigma
        found = roll.denoiser(process).score(y, process.time_of(torch.tensor(sigma).double()))
        noisy = replace(roll.curve, deviation=math.hypot(roll.curve.deviation, sigma * roll.scale))
        leaf = y.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(noisy.log_prob(leaf * roll.scale + roll.mean).sum(), leaf)
        assert torch.allclose(found, slope, atol=1e-8)


def test_the_learned_chains_bound_is_one(script) -> None:
    """A little training: K lies under E log p, and its ends are those of `entropy_bound` on the same betas."""
    swiss = script("swiss_roll")
    roll = swiss.Roll()
    reverse, value, error = swiss.learned(roll, 250)
    truth = float(roll.log_prob(roll.sample(swiss.FRESH, 2)).mean())
    assert -5 < value < truth + 4 * error
    chain = swiss.DiscreteChain(-torch.expm1(reverse.log_kept().detach().double()))
    process = swiss.Diffusion(chain, (2,), 1.0)
    found = swiss.entropy_bound(roll.denoiser(process), roll.sample(50, 3), chain.times, rng=0)
    assert float(found.terms["entropies"][0]) == pytest.approx(float(reverse.ends().detach()), abs=1e-5)
    assert value < float(found.nats.mean()) + 0.5, "the exact score is not beaten but by luck"


def test_tables_of_the_rest(script) -> None:
    swiss, remembering = script("swiss_roll"), script("remembering")
    rows = [{"chain": "c", "score": "s", "steps": 40, "K": -1.0, "error": 0.01, "truth": -0.5}]
    result = {"date": "d", "machine": MACHINE, "training": 300, "truth": -0.5, "gaussian": -2.8, "rows": rows}
    assert f"| c | s | 40 | {-1 / np.log(2):.3f} |" in swiss.table(result)
    rows = [
        {"name": "patches", "fit": 1.0, "draw": 60.0, "distance": 9.0, "error": 0.5, "copies": 0.01, "verdict": "v"}
    ]
    told = remembering.table({"date": "d", "machine": MACHINE, "floor": 1.2, "rows": rows})
    assert "| patches | 1 | 60 | 9.00 | 0.50 | 1.0 % | v |" in told


def test_committed_results_are_read() -> None:
    for path in (FOLDER / "results").glob("*-posteriors.json"):
        assert json.loads(path.read_text())["lines"]
