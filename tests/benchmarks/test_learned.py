"""The pieces of the benchmark on a learned model that need no rival, and the page that is made of its results."""

import importlib
from pathlib import Path

import pytest
import torch

import driftback as db
from driftback.samplers import Heun, karras, last

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("digits") / "run"
    db.fit("digits", n=300, steps=2, batch=16, seed=0, method="edm", out=out)
    return str(out)


@pytest.fixture
def pictures(model):
    return importlib.import_module("workers.network").Pictures(model, 2, 3)


def test_its_truth_is_the_models_own_way_in_its_own_units(pictures, monkeypatch) -> None:
    """Against driftback's Heun on the same grid, in the model's units; spoilt labels are noticed."""
    network = importlib.import_module("workers.network")
    monkeypatch.setattr(network, "STEPS", 12)
    found = pictures.truth()
    model, spread = pictures.model, pictures.model.config.spread
    x = (pictures.start * pictures.unit).float().reshape(6, 1, 8, 8)
    times = karras(model.denoiser.process, 13, low=0.004 * spread, high=160 * spread)

    def own(labels):
        return last(Heun(model.denoiser.given(labels))(x, times)).x.flatten(1) / pictures.unit

    assert float((found - own(pictures.labels)).abs().max()) < 1e-3
    assert float((found - own((pictures.labels + 1) % 10)).abs().max()) > 1e-2
    assert pictures.errors(found, found) == [0.0, 0.0]
    assert pictures.errors(found + 0.5, found) == pytest.approx([1.0, 1.0])


@pytest.mark.slow
def test_the_nearest_setting_is_found_within_the_budget(pictures) -> None:
    scan, ours = importlib.import_module("workers.scan"), importlib.import_module("workers.solvers_driftback")
    euler = next(solver for solver in ours.SOLVERS if solver.name == "euler")
    truth = torch.zeros_like(pictures.start)
    found = scan.nearest(euler, (pictures, truth), (pictures, truth), [3, 5])
    assert set(found) == {"3", "5"}
    assert all(found[budget]["evaluations"] <= int(budget) for budget in found)
    readings = [scan.read(euler, setting, pictures, truth, 5) for setting in euler.settings()]
    assert found["5"]["error"] == min(reading.error for reading in readings if reading.evaluations <= 5)


def test_the_fitted_solver_is_what_sample_takes(pictures) -> None:
    """In five evaluations, from the same noise, to the same pictures as the library's own way."""
    scan, ours = importlib.import_module("workers.scan"), importlib.import_module("workers.solvers_driftback")
    setting = scan.Setting("log", 0.005, "zero")
    x, spent = ours.SOLVERS[0].run(setting, pictures, 5)
    choice = pictures.model.ways.choice(importlib.import_module("driftback.recipes.way_back").Asked(evaluations=5))
    start = (pictures.start * pictures.unit).float().reshape(6, 1, 8, 8)
    own = last(choice.sampler(pictures.model.denoiser.given(pictures.labels))(start)).x.flatten(1) / pictures.unit
    assert spent == 5
    assert float((x - own).abs().max()) < 1e-3


def test_the_page_shows_the_committed_results() -> None:
    page = importlib.import_module("page")
    block = page.table(page.latest("solvers"), page.latest("learned"))
    assert block in page.PAGE.read_text(encoding="utf-8")
    assert page.PICTURE.stat().st_size > 10_000


def test_the_best_of_each_library_is_shown() -> None:
    page = importlib.import_module("page")
    rows = [
        {"library": "driftback", "solver": "fitted", "5": {"error": 0.3}},
        {"library": "driftback", "solver": "euler", "5": {"error": 0.2}},
        {"library": "azula", "solver": "a", "5": {"error": 0.5}},
        {"library": "azula", "solver": "b", "5": {"error": 0.4}},
        {"library": "azula", "solver": "c", "failed": "no"},
    ]
    assert page.best(rows, "5") == {
        page.FITTED: (0.3, "fitted"),
        page.UNFITTED: (0.2, "euler"),
        "azula": (0.4, "b"),
    }
