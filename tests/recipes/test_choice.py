"""The preset that a budget bears: by made-up speeds the choice is known, and so are its words."""

import re
from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.networks.ladder import ladder
from driftback.networks.presets import NetworkSpec
from driftback.recipes import choice
from driftback.recipes import prepare as module
from driftback.recipes.choice import Choice, Rung, choose
from driftback.recipes.describe import describe
from driftback.recipes.prepare import prepare

RUNGS = [Rung("a", 1_000, 10), Rung("b", 4_000, 30), Rung("c", 20_000, 150)]
SPEEDS = {"a": 1e-3, "b": 2e-3, "c": 8e-3}
"""Seconds per item: the larger get two times more out of the machine than their operations say."""


def chosen(seconds: float, speeds: dict[str, float] = SPEEDS) -> tuple[Choice, list[str]]:
    """The choice within so many seconds in batches of one, and which rungs were measured."""
    measured = []

    def measure(rung: Rung) -> float:
        measured.append(rung.name)
        return speeds[rung.name]

    def sees(rung: Rung, per_step: float) -> int:
        return round(seconds / per_step)

    found = choose(RUNGS, measure, sees, batch=1, items="things", within=lambda *of: f"{seconds:g} seconds")
    return found, measured


def test_the_largest_that_sees_what_it_wants_is_chosen() -> None:
    # a, b, c want 100, 400 and 2,000 items, which take .1, .8 and 16 seconds.
    assert [rung.wants for rung in RUNGS] == [100, 400, 2_000]
    for seconds, name in [(0.1, "a"), (0.79, "a"), (0.8, "b"), (15.9, "b"), (16.0, "c"), (1e5, "c")]:
        assert chosen(seconds)[0].rung.name == name, seconds
        assert chosen(seconds)[0].per_step == SPEEDS[name]


def test_what_is_out_of_reach_is_not_measured() -> None:
    # At half the three times that its operations say, b would see what it wants in .6 seconds.
    assert chosen(0.59)[1] == ["a"]
    assert chosen(0.61)[1] == ["a", "b"]
    assert chosen(1e5)[1] == ["a", "b", "c"]


def test_the_reason_is_told() -> None:
    assert chosen(0.3)[0].reason == (
        "preset a: 1,000 things a second measured, 300 in 0.3 seconds; b would see about 100, below the 400 it wants"
    )
    assert chosen(0.7)[0].reason == (
        "preset a: 1,000 things a second measured, 700 in 0.7 seconds; b would see 350, below the 400 it wants"
    )
    assert chosen(0.01)[0].reason == (
        "preset a: 1,000 things a second measured, 10 in 0.01 seconds, below the 100 it wants, but none is smaller"
    )
    assert chosen(20)[0].reason == "preset c: 125 things a second measured, 2,500 in 20 seconds, and none is larger"


def pictures(side: int, n: int = 6_300) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine on which a step takes 1 ms for every thousand parameters; the list tells what was measured."""
    measured = []

    def seconds(denoiser, *given, **options) -> float:
        measured.append(sum(p.numel() for p in denoiser.network.parameters()))
        return 1e-6 * measured[-1]

    monkeypatch.setattr(module, "seconds_per_step", seconds)
    return measured


@pytest.mark.slow
def test_more_minutes_choose_a_larger_preset(machine: list[int]) -> None:
    rungs, x, found = ladder("unet", (1, 16, 16), 5_040).rungs, pictures(16), []
    for minutes in (0.1, 10, 100, 2000):
        job = prepare(x, minutes=minutes, held_out=0.2)
        found.append(job.config.network)
        assert job.per_step == pytest.approx(1e-6 * sum(p.numel() for p in job.state.denoiser.network.parameters()))
        assert job.said[0].startswith("preset ")
    names = [next(name for name, rung in rungs.items() if rung.widths == spec.widths) for spec in found]
    assert names == ["tiny", "small", "large", "huge"]
    assert machine[0] == min(machine)


@pytest.mark.parametrize("network", [None, "dit"])
def test_what_is_said_to_repeat_it_repeats_it(machine: list[int], network: str | None) -> None:
    x = pictures(28, 200)
    timed = prepare(x, minutes=0.1, network=network)
    words = next(line for line in timed.said if "repeats them exactly" in line)
    found = re.search(r"--steps (\d+) --network (\S+) repeats", words)
    assert found is not None
    again = prepare(x, steps=int(found[1]), network=found[2])
    assert (again.config.network, again.config.plan) == (timed.config.network, timed.config.plan)


def test_steps_measure_nothing_and_keep_the_default(machine: list[int]) -> None:
    assert prepare(pictures(28, 50), steps=3).config.network.widths == (64, 128)
    assert prepare(pictures(28, 50), steps=3, network="small").config.network.widths == (32, 64)
    assert prepare(pictures(28, 50), steps=3, network="dit").config.network.kind == "dit"
    assert machine == []


def test_what_is_asked_for_is_measured_alone_and_kept(machine: list[int]) -> None:
    own = NetworkSpec(kind="unet", widths=(8,), depth=1, dropout=0.05)
    assert prepare(pictures(28, 50), minutes=0.1, network="medium").config.network.widths == (48, 96)
    assert prepare(pictures(28, 50), minutes=1e3, network=own).config.network == own
    assert len(machine) == 2


def test_digits_and_points_keep_their_networks(machine: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes in (0.01, 1.4, 500):
        job = prepare("digits", minutes=minutes)
        assert (job.config.network.widths, job.config.network.depth) == ((48,), 2)
        assert prepare("two-moons", minutes=minutes).config.network.widths == (128,)
    assert "medium would see about 89,088, below" in prepare("digits", minutes=500).said[0]
    assert "in 62 passes, as many as so few items bear" in prepare("digits", minutes=500).said[0]


def test_a_resume_keeps_the_preset_and_refuses_another(machine: list[int], tmp_path: Path) -> None:
    x = pictures(16, 40)
    prepare(x, out=tmp_path, minutes=0.1)
    measured = len(machine)
    assert describe(tmp_path)["preset"] == "tiny"
    for network in (None, "tiny", "unet", "unet-tiny"):
        assert prepare(x, out=tmp_path, resume=True, network=network).config.network.widths == (24, 48)
    for network in ("small", "dit", NetworkSpec(kind="unet", widths=(8,), depth=1)):
        with pytest.raises(db.BadInput, match="was planned with a network of kind unet and widths 24-48"):
            prepare(x, out=tmp_path, resume=True, network=network)
    assert len(machine) == measured


def test_a_transformer_trains_and_draws(tmp_path: Path) -> None:
    db.fit("digits", steps=2, n=40, batch=8, network="dit-tiny", out=tmp_path)
    model = db.load(tmp_path)
    assert model.sample(2, steps=2).shape == (2, 8, 8)
    about = describe(tmp_path)
    assert (about["network"], about["preset"]) == ("dit 64", "tiny")
    assert about["flops_of_training"] == 3 * 2 * 8 * about["flops_per_item"]


def test_a_rule_that_never_refuses_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: presets that want nothing."""
    monkeypatch.setattr(choice, "ITEMS_PER_PARAMETER", 0.0)
    with pytest.raises(AssertionError):
        test_the_largest_that_sees_what_it_wants_is_chosen()
