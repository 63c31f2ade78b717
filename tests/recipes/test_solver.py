"""When nothing is said, the solver is fitted to the model: near enough, no dearer than it must be, and made once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.errors import BadInput
from driftback.recipes import solver, way_back
from driftback.recipes.solver import Choice, Solver
from driftback.recipes.way_back import Asked
from driftback.samplers import SAMPLERS
from driftback.samplers.fitted import fitted

WAYS, FINE = way_back.WAYS, solver.FINE


@pytest.fixture(scope="module", autouse=True)
def closely() -> Iterator[None]:
    """As a person has it: other tests have a solver that is fitted to fewer ways, see `quick_recipes`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(way_back, "WAYS", WAYS)
        patch.setattr(solver, "FINE", FINE)
        patch.setattr(solver, "fitted", fitted)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moons") / "run"
    db.fit("two-moons", steps=300, n=2000, batch=128, seed=0, out=out)
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> db.Model:
    return db.load(folder)


@pytest.fixture(scope="module")
def truth(folder: Path) -> np.ndarray:
    """The ends of the same ways in many steps: the noise at the start belongs to the seed."""
    return db.load(folder).sample(1000, seed=3, sampler="unipc-3", steps=250)


def off(model: db.Model, truth: np.ndarray, asked: Asked) -> tuple[float, int]:
    """The root mean square distance per coordinate to the `truth`, in deviations of the data; evaluations."""
    drawn = model.draw(1000, asked, seed=3)
    scale = np.array(model.config.preprocessing.scale) * model.config.spread
    return float(np.sqrt((((drawn.x - truth) / scale) ** 2).mean())), drawn.evaluations


@pytest.mark.parametrize("tolerance", [0.05, 0.01])
def test_a_tolerance_is_met_with_the_evaluations_that_it_takes(
    model: db.Model, truth: np.ndarray, tolerance: float
) -> None:
    """Within a factor of two: the tolerance is held on the ways that the solver was judged by, and these are others."""
    error, spent = off(model, truth, Asked(tolerance=tolerance))
    assert error < 2 * tolerance
    made = model.ways.made[0.0].made
    assert all(choice.error > tolerance for length, choice in made.items() if length < spent)
    assert made[spent].error <= tolerance
    # Published solvers with as many evaluations are further off.
    named, _ = off(model, truth, Asked(sampler="dpm-2m", steps=spent))
    assert error < named


def test_a_budget_is_kept_and_used(model: db.Model, truth: np.ndarray) -> None:
    few, spent = off(model, truth, Asked(evaluations=9))
    assert spent == 8
    more, spent = off(model, truth, Asked(evaluations=30))
    assert spent <= 30
    assert more < few / 2


def test_nothing_said_is_the_default_tolerance(model: db.Model) -> None:
    assert np.array_equal(model.sample(20, seed=0), model.sample(20, seed=0, tolerance=solver.TOLERANCE))
    drawn = model.draw(20, Asked())
    assert drawn.error is not None
    assert drawn.error <= solver.TOLERANCE
    assert model.draw(20, Asked(steps=10)).error is None


def test_it_is_made_once_and_kept_with_the_model(model: db.Model, folder: Path, monkeypatch) -> None:
    first = model.sample(50, seed=1)
    path, mark = folder / solver.FILE, model.mark
    kept = json.loads(path.read_text())
    assert solver.read(path, mark) == model.ways.made[0.0].made
    monkeypatch.setattr(solver, "reference", lambda *a, **k: pytest.fail("made again"))
    assert np.array_equal(db.load(folder).sample(50, seed=1), first)
    # Other weights, a damaged file or another version are not used.
    assert solver.read(path, "last 0") == {}
    damaged = ({"version": 99}, {"choices": []}, {"choices": [{"times": [1, 0]}]}, {"choices": 3})
    for text in ("{", "", *(json.dumps(kept | damage) for damage in damaged)):
        (folder / "damaged.json").write_text(text)
        assert solver.read(folder / "damaged.json", mark) == {}
    (folder / "damaged.json").unlink()
    assert solver.read(folder / "none.json", mark) == {}


@pytest.mark.slow
def test_only_the_lengths_that_are_asked_for_are_fitted(folder: Path) -> None:
    ways = replace(db.load(folder).ways, folder=None, made={})
    ways.choice(Asked(evaluations=11))
    assert list(ways.made[0.0].made) == [10]
    ways.choice(Asked(tolerance=0.5))
    assert sorted(ways.made[0.0].made) == [solver.LENGTHS[0], 10]


def test_where_nothing_can_be_written_it_is_made_in_memory(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    ways = replace(db.load(folder).ways, folder=blocked, made={})
    assert ways.choice(Asked(evaluations=4)) is not None
    assert blocked.read_text() == "not a folder"


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_there_by_name(model: db.Model, name: str) -> None:
    x = model.sample(200, sampler=name, steps=None if SAMPLERS[name].adaptive else 24, seed=0)
    assert np.isfinite(x).all()
    assert np.abs(x.mean(0) - model.sample(200, seed=0).mean(0)).max() < 0.5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tolerance": 0.01, "evaluations": 20}, "leave evaluations out"),
        ({"tolerance": 0.01, "steps": 20}, "leave steps out"),
        ({"evaluations": 20, "sampler": "heun"}, "leave sampler out"),
        ({"sampler": "hein"}, "choose one of"),
        ({"churn": 1.0, "sampler": "heun"}, "churn belongs"),
        ({"evaluations": 0}, "evaluations"),
        ({"tolerance": 0.0}, "positive"),
        ({"tolerance": -1.0}, "positive"),
        ({"evaluations": 2}, "give 4 or more"),
    ],
)
def test_what_does_not_go_together_is_refused(model: db.Model, wrong: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        model.sample(5, **wrong)


def test_the_choice_is_the_shortest_that_suffices_or_the_longest_that_is_paid_for() -> None:
    errors, asked = {4: 0.1, 5: 0.02, 6: 0.03, 8: 0.004}, []

    def fit(length: int) -> Choice:
        asked.append(length)
        return Choice((1.0,), (None,) * length, errors.get(length, 0.003))

    plans = Solver(fit)
    assert len(plans.choose(0.05).plan) == 5
    assert asked == [4, 5]
    assert len(plans.choose(0.005).plan) == 8
    assert len(plans.choose(1e-9).plan) == 10
    assert len(plans.choose(evaluations=7).plan) == 6
    assert len(plans.choose(evaluations=25, each=3).plan) == 8
    with pytest.raises(BadInput, match="give 8 or more"):
        plans.choose(evaluations=7, each=2)


def test_pictures_on_few_levels_have_noise_unless_a_tolerance_is_asked_for() -> None:
    model = db.fit("digits", n=150, steps=4, batch=16, seed=0)
    drawn = model.draw(2, Asked())
    assert drawn.evaluations == 32
    assert drawn.error is None
    guided = model.draw(2, Asked(steps=3, guidance=1.0), label=3)
    assert guided.evaluations == 2 * 3
