"""Loggers hear what a training measures, one that fails costs nothing, and TensorBoard can read what was written."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.training import tensorboard
from driftback.training.health import Measurement
from driftback.training.levels import LevelLosses
from driftback.training.logger import Loggers
from driftback.training.loop import Step
from driftback.training.tensorboard import TensorBoard


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[int, float]] = {}
        self.pictures: list[tuple[int, str, tuple[int, ...]]] = []
        self.closed = 0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.numbers.setdefault(name, {})[step] = value

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        assert image.dtype == np.uint8
        self.pictures.append((step, name, image.shape))

    def close(self) -> None:
        self.closed += 1


def test_a_logger_hears_losses_speed_and_previews(tmp_path: Path) -> None:
    kept, seen = Kept(), []
    db.fit("digits", n=80, steps=24, batch=8, out=tmp_path / "x", loggers=[kept], progress=seen.append)
    assert list(kept.numbers["loss/batch"]) == list(range(1, 25))
    assert list(kept.numbers["loss/batch"].values()) == [step.loss for step in seen]
    assert all(rate > 0 for rate in kept.numbers["training/items per second"].values())
    assert kept.numbers["training/learning rate"][1] > 0
    moments = list(range(2, 25, 2))
    assert list(kept.numbers["loss/training items"]) == moments
    held = kept.numbers["loss/held-out items"]
    assert held[24] == pytest.approx(seen[-1].held_out)
    levels = {name: found for name, found in kept.numbers.items() if name.startswith("loss per noise level, held-out")}
    assert len(levels) == 8
    assert np.mean([found[24] for found in levels.values()]) == pytest.approx(held[24])
    assert [(step, name) for step, name, _ in kept.pictures] == [(step, "preview") for step in range(4, 25, 4)]
    assert all(shape[2] == 3 for _, _, shape in kept.pictures)
    assert kept.closed == 1


def test_speed_is_items_over_seconds_since_the_last_word() -> None:
    kept = Kept()
    loggers = Loggers([kept], steps=1000, batch=10)
    for number, seconds in zip(range(1, 7), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0), strict=True):
        loggers.stepped(Step(number, 1.0, 2.0, 0.1), seconds)
    # Every second step of a thousand; two steps of ten items in one second, then in two.
    assert kept.numbers["training/items per second"] == {4: 20.0, 6: 10.0}
    assert list(kept.numbers["training/gradient"]) == [2, 4, 6]


def test_without_held_out_items_training_ones_are_told_alone() -> None:
    kept = Kept()
    Loggers([kept]).measured(Measurement(5, LevelLosses((0.1, 2.0), (1.0, 3.0)), None))
    assert kept.numbers == {
        "loss/training items": {5: 2.0},
        "loss per noise level, training items/0.1": {5: 1.0},
        "loss per noise level, training items/2": {5: 3.0},
    }


class Broken(Kept):
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        raise OSError("no space left")


def test_a_logger_that_fails_is_told_once_and_left_out() -> None:
    kept, said = Kept(), []
    loggers = Loggers([Broken(), kept], complain=said.append)
    for number in (1, 2):
        loggers.stepped(Step(number, 1.0, 2.0, 0.1), seconds=number)
    assert said == ["Broken failed (OSError: no space left) and is told nothing more"]
    assert len(kept.numbers["loss/batch"]) == 2
    with pytest.warns(UserWarning, match="Broken failed"):
        Loggers([Broken()]).stepped(Step(1, 1.0, 2.0, 0.1), seconds=1)


def test_loggers_change_no_weights() -> None:
    one, two = (db.fit("two-moons", n=60, steps=6, batch=16, loggers=each) for each in ((), [Kept()]))
    assert np.array_equal(one.sample(5), two.sample(5))


def test_without_the_package_a_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(db.BadInput, match=r"pip install 'driftback\[track\]'"):
        TensorBoard(tmp_path)


def test_nothing_of_it_is_imported_before_it_is_asked_for() -> None:
    code = "import driftback.recipes.fit, driftback.training.tensorboard, sys; print('tensorboard' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == "False"


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoard(tmp_path / "tb")
    for step in range(1, 11):
        first.scalars(step, {"loss/batch": float(step)})
    first.picture(5, "preview", np.zeros((4, 5, 3), np.uint8))
    first.close()
    # A kill cost the steps after the checkpoint of step 6; the resumed training tells them again.
    again = TensorBoard(tmp_path / "tb", step=6)
    again.scalars(7, {"loss/batch": 70.0})
    again.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("loss/batch")}
    assert told == {**{step: float(step) for step in range(1, 7)}, 7: 70.0}
    assert events.Images("preview")[0].width == 5
