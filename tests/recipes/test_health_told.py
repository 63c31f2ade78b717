"""The health of a training is told level by level, with the best step beside the last."""

import json
from pathlib import Path

import pytest

from driftback.errors import DamagedModel
from driftback.recipes.health_told import bars, health
from driftback.recipes.log import LOG
from driftback.recipes.prepare import prepare
from driftback.training.health import Measurement
from driftback.training.levels import LevelLosses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare("two-moons", n=60, batch=16, steps=5, out=tmp_path / "x")
    return tmp_path / "x"


def written(folder: Path, train: list[float], held: list[float] | None) -> None:
    pairs = zip(train, held or [None] * len(train), strict=True)
    found = [
        Measurement(100 * (i + 1), LevelLosses((0.1, 2.0), (t, 3 * t)), h and LevelLosses((0.1, 2.0), (h, 2 * h)))
        for i, (t, h) in enumerate(pairs)
    ]
    lines = [json.dumps(m.as_json()) for m in found]
    (folder / LOG).write_text("\n".join([*lines, '{"kind": "step", "step": 1}', '{"cut']), "utf-8")


def test_a_memorising_training_is_told_with_its_best_step(folder: Path) -> None:
    written(folder, [1.0, 0.8, 0.6, 0.4], [1.0, 0.8, 0.9, 1.2])
    found = health(folder)
    assert "memorising since step 200" in found.verdict
    assert (found.best_step, found.memorising_since) == (200, 200)
    assert found.steps == (100, 200, 300, 400)
    assert found.train == pytest.approx((2.0, 1.6, 1.2, 0.8))
    assert found.held_out == pytest.approx((1.5, 1.2, 1.35, 1.8))
    low, high = found.levels
    assert (low.noise, low.train, low.held_out, low.held_out_at_best) == (0.1, 0.4, 1.2, 0.8)
    assert (high.noise, high.train, high.held_out, high.held_out_at_best) == pytest.approx((2.0, 1.2, 2.4, 1.6))
    assert json.loads(json.dumps(found.as_json()))["levels"][0]["noise"] == 0.1


def test_without_held_out_items_and_without_a_measurement(folder: Path) -> None:
    written(folder, [1.0, 0.9], None)
    found = health(folder)
    assert found.held_out == ()
    assert found.best_step is None
    assert [at.held_out for at in found.levels] == [None, None]
    (folder / LOG).unlink()
    assert health(folder).levels == ()
    assert health(folder).verdict == "no measurement yet"
    with pytest.raises(DamagedModel):
        health(folder / "none")


def test_bars_rise_with_the_values() -> None:
    assert bars([0.0, 1.0, 2.0, 7.0]) == "▁▂▃█"
    assert bars([3.0, 3.0]) == "▁▁"
