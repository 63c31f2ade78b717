"""The early snapshot: kept once, the same after any kill, and what autoguidance pushes away from."""

from pathlib import Path

import numpy as np
import pytest
import torch

import driftback as db
from driftback.files import read_tensors
from driftback.networks.presets import NetworkSpec
from driftback.recipes.early import EARLY, early_step
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare
from driftback.recipes.way_back import Asked, Ways

SMALL = NetworkSpec(kind="mlp", widths=(16,), depth=1, conditioning=16)
OPTIONS = {"n": 200, "steps": 24, "batch": 32, "network": SMALL}


def snapshot(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / EARLY)[0]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "moons"
    db.fit("two-moons", out=out, **OPTIONS)
    return out


def test_it_is_the_average_after_an_eighth(fitted: Path) -> None:
    assert early_step(24) == 3
    assert early_step(5) == 1
    job = prepare("two-moons", **OPTIONS)
    for step in job.run():
        average = job.state.average.network.state_dict()
        assert same(snapshot(fitted), average) == (step.step == 3)
    assert same(snapshot(fitted), job.early.network.state_dict()), "also in memory, and unmoved by what comes after"


@pytest.mark.parametrize("stop", [1, 3, 10])
def test_a_kill_changes_nothing(stop: int, fitted: Path, tmp_path: Path) -> None:
    """Stopped before, at and after the snapshot; and killed after it with a checkpoint from before."""
    job, steps = prepare("two-moons", out=tmp_path / "a", **OPTIONS), iter(range(1, 100))
    for _ in job.run(stop=lambda: next(steps) == stop):
        pass
    if stop == 1:
        (tmp_path / "a" / EARLY).write_bytes(b"half a file, of a step that will be taken again")
    job = prepare("two-moons", out=tmp_path / "a", resume=True, n=200)
    assert (job.early is None) == (stop < 3)
    for _ in job.run():
        pass
    model, _ = job.finish()
    assert same(snapshot(tmp_path / "a"), snapshot(fitted))
    assert same(model.early.network.state_dict(), snapshot(fitted))


def test_it_pushes_without_any_condition(fitted: Path) -> None:
    model = db.load(fitted)
    plain, pushed = model.sample(4, steps=5), model.sample(4, steps=5, autoguidance=1.0)
    assert not np.allclose(plain, pushed, atol=1e-4)
    nowhere = model.sample(4, steps=5, autoguidance=1.0, guidance_interval=(1e6, 1e7))
    assert np.array_equal(plain, nowhere)


def test_what_it_costs_is_counted(fitted: Path) -> None:
    model = db.load(fitted)
    spent = [
        model.draw(2, Asked(steps=8, autoguidance=weight, interval=interval)).evaluations
        for weight, interval in ((0.0, None), (1.0, None), (1.0, (1e6, 1e7)), (1.0, (0.2, 2.0)))
    ]
    assert spent[1] == 2 * spent[0]
    assert spent[2] == spent[0]
    assert spent[0] < spent[3] < spent[1]


def test_the_interval_is_in_deviations_of_the_data(fitted: Path) -> None:
    model = db.load(fitted)
    narrow = model.config.model_copy(update={"spread": 0.25})
    asked = Asked(autoguidance=1.0, interval=(0.2, 2.0))
    guided = Ways(narrow, model.denoiser).guided(None, asked, model.denoiser)
    assert guided.interval == pytest.approx((0.05, 0.5))


def test_the_fitted_solver_is_that_of_the_pushed_denoiser(fitted: Path) -> None:
    model = db.load(fitted)
    for asked in (Asked(evaluations=16, autoguidance=1.0), Asked(evaluations=16)):
        model.draw(2, asked)
    assert len(model.ways.made) == 2, "one for each, and the pushed one is kept apart"
    pushed = model.draw(2, Asked(evaluations=16, autoguidance=1.0))
    assert pushed.evaluations <= 16


def test_a_model_without_one_says_so(fitted: Path, tmp_path: Path) -> None:
    model: Model = db.load(fitted)
    model.save(tmp_path / "copy")
    assert same(snapshot(tmp_path / "copy"), snapshot(fitted)), "a copy keeps it"
    (tmp_path / "copy" / EARLY).unlink()
    with pytest.raises(db.BadInput, match=r"early\.safetensors.*fit it again"):
        db.load(tmp_path / "copy").sample(1, steps=2, autoguidance=1.0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"guidance": 1.0, "autoguidance": 1.0}, "two ways to push"),
        ({"autoguidance": -1.0}, "autoguidance must be at least 0"),
        ({"guidance_interval": (0.2, 2.0)}, "give guidance or autoguidance"),
        ({"autoguidance": 1.0, "guidance_interval": (2.0, 0.2)}, "rises from 0"),
        ({"autoguidance": 1.0, "guidance_interval": ("a", 1.0)}, "guidance_interval must be a number"),
    ],
)
def test_refused_in_one_line(fitted: Path, options: dict, told: str) -> None:
    with pytest.raises(db.BadInput, match=told) as caught:
        db.load(fitted).sample(1, **options)
    assert "\n" not in str(caught.value)
