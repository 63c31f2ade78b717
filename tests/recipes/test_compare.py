"""`compare`: one target, one budget, every way; its verdicts are those that are known beforehand."""

import numpy as np
import pytest

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.recipes.density import compare as module
from driftback.recipes.density.compare import WAYS, Entry, compare


@pytest.fixture(scope="module")
def found():
    """On modes that are 10 deviations apart, chains stay where they start, and the reverse SDE does not."""
    return compare("gmm25", budget=20_000, n=400, minutes=0.02, seed=1)


def test_every_way_has_a_row_with_its_cost(found) -> None:
    assert [entry.name for entry in found.entries] == list(WAYS)
    for entry in found.entries:
        assert not entry.why, entry.why
        # Tempering pays for 12 rungs: 4 draws of its 20 ladders are left.
        assert 60 < len(entry.points) <= 400
        # A move of all chains, or a tree, is not cut off in the middle.
        assert entry.evaluations <= 1.3 * 20_000
        assert entry.seconds > 0


def test_the_exact_score_is_inside_the_floor_and_local_chains_are_not(found) -> None:
    """The floor is a 95 % band, at one fixed seed; chains in a few of 25 modes are far outside of it."""
    rows = {entry.name: entry for entry in found.entries}
    exact, nuts = rows["exact score"], rows["nuts"]
    assert exact.sliced.value < exact.sliced.floor_high
    assert exact.modes == found.known_modes == 25
    assert nuts.sliced.value > nuts.sliced.floor_high
    assert nuts.variation > 0.3 > exact.variation


def test_what_cannot_be_compared_says_why() -> None:
    found = compare("funnel", budget=1000, n=100, ways=("exact score", "metropolis"))
    exact, walk = found.entries
    assert exact.points is None
    assert "no formula" in exact.why
    assert walk.points is not None
    unknown = compare(
        Problem(type("T", (), {"event_shape": (2,), "log_prob": lambda self, x: -(x**2).sum(1) / 2})(), "own"),
        budget=1000,
        n=100,
        ways=("metropolis", "learned score"),
    )
    assert unknown.entries[0].sliced is None
    assert "not known" in unknown.entries[1].why


@pytest.mark.parametrize(("given", "said"), [({"ways": ("nuds",)}, "choose one of"), ({"budget": 10}, "too small")])
def test_arguments_are_told(given, said) -> None:
    with pytest.raises(BadInput, match=said):
        compare("gmm25", **given)


def test_a_way_that_cheats_is_seen(monkeypatch) -> None:
    """Points of the wrong modes, and points that are too narrow, are outside of the floor: the judge can fail."""

    def cheat(stage):
        x = stage.problem.target.sample(stage.n, rng=5).numpy()
        return Entry("cheat", "", np.where(x[:, :1] > 0, x, -x))

    def honestly(stage):
        return Entry("honest", "", stage.problem.target.sample(stage.n, rng=5).numpy())

    monkeypatch.setitem(module.WAYS, "cheat", cheat)
    monkeypatch.setitem(
        module.WAYS, "honest", lambda stage: Entry("honest", "", stage.problem.target.sample(stage.n, rng=5).numpy())
    )
    cheating, honest = compare("gmm25", budget=2000, n=400, ways=("cheat", "honest")).entries
    assert cheating.sliced.value > cheating.sliced.floor_high
    assert honest.sliced.value < honest.sliced.floor_high
    assert cheating.modes < 25


def test_ctrl_c_keeps_the_ways_that_are_done(monkeypatch) -> None:
    def stopped(stage):
        raise KeyboardInterrupt

    monkeypatch.setitem(module.WAYS, "smc", stopped)
    found = compare("banana", budget=2000, n=100, ways=("metropolis", "smc", "nuts"))
    assert [entry.name for entry in found.entries] == ["metropolis"]
    assert found.entries[0].sliced is not None
    assert found.stopped == found.as_json()["stopped"] == "smc"
    with pytest.raises(KeyboardInterrupt):
        compare("banana", budget=2000, n=100, ways=("smc",))


@pytest.mark.slow
def test_coordinates_of_two_values_have_ways_of_their_own() -> None:
    """Gibbs sweeps find the shares of both signs; NUTS would leave the lattice."""
    found = compare("ising-4", budget=20_000, n=200, seed=1)
    assert [entry.name for entry in found.entries] == ["gibbs", "flips", "informed-flips"]
    assert all(set(np.unique(entry.points)) == {-1.0, 1.0} for entry in found.entries)
    assert found.entries[0].sliced.value < found.entries[0].sliced.floor_high
    with pytest.raises(BadInput, match="no way 'nuts' for ising-4; choose one of gibbs"):
        compare("ising-4", ways=("nuts",))
    with pytest.raises(BadInput, match=r"did you mean nuts\?"):
        compare("banana", ways=("nut",))
