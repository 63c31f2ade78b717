"""Chains whose worth is known: independent ones, autoregressions, chains that disagree, stand still, or miss a mode."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from scipy.signal import lfilter

from driftback.distributions.target import Problem, Truth, nearest
from driftback.errors import BadInput
from driftback.evaluation import chain_draws
from driftback.evaluation.arviz_export import arviz_groups, to_arviz
from driftback.evaluation.chains import Diagnostics, diagnose
from driftback.evaluation.convergence import Convergence
from driftback.evaluation.modes import Modes, mode_visits
from driftback.evaluation.moves import e_bfmi

CENTRES = torch.tensor([[0.0, 0.0], [3.0, 3.0], [0.0, 3.0], [3.0, 0.0]])
FOUR = Truth(mode=nearest(CENTRES), shares=torch.full((4,), 0.25))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(shape)


def autoregressive(rho: float, chains: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Stationary chains x' = rho x + sqrt(1 - rho^2) z of variance 1: their ESS is n (1 - rho) / (1 + rho)."""
    z = generator.standard_normal((chains, draws))
    z[:, 1:] *= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], z, axis=1)


def near(which: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points (chains, draws, 2) around the centres `which` (chains, draws)."""
    return CENTRES.numpy()[which] + 0.1 * normal(*which.shape, 2, seed=seed)


# --- quantities


def test_independent_draws_are_worth_their_number() -> None:
    found = diagnose(normal(4, 1000, 20), names=[f"q{j}" for j in range(20)])
    # Measured: 2,000 ESS of 4,000 independent draws lay between 2,984 and 4,471, with a deviation of 180.
    for values in (found.quantities.ess_bulk, found.quantities.ess_tail):
        assert np.all(np.abs(values - 4000) < 1100)
    assert np.all(found.quantities.rhat < 1.01)
    assert found.sentences == (
        f"all looks well: R-hat is at most {found.rhat.rhat:.3f}, the bulk ESS at least {found.ess_bulk.ess_bulk:.0f} "
        f"and the tail ESS at least {found.ess_tail.ess_tail:.0f}",
    )


@pytest.mark.parametrize("rho", [-0.5, 0.5, 0.9])
def test_autoregressions_are_worth_what_they_are(rho: float) -> None:
    found = diagnose(autoregressive(rho, 4, 20_000, rng(1)))
    true = 80_000 * (1 - rho) / (1 + rho)
    # Deviations of 2 to 5 % (measured), so that 15 % are left in 1 of 1,000 seeds.
    assert found.ess_bulk.ess_bulk == pytest.approx(true, rel=0.15)
    assert found.rows[0].mcse_mean == pytest.approx(true**-0.5, rel=0.1)


@pytest.mark.parametrize("rho", [-0.6, 0.7])
def test_errors_are_the_spread_over_replications(rho: float) -> None:
    generator, trials = rng(2), 300
    rows = [diagnose(autoregressive(rho, 4, 250, generator)).rows[0] for _ in range(trials)]
    # The spread over 300 trials has a relative error of 4 %, and so the bounds a false-alarm rate below 10^-4.
    assert np.mean([row.mcse_mean for row in rows]) == pytest.approx(np.std([row.mean for row in rows]), rel=0.2)
    assert np.mean([row.mcse_sd for row in rows]) == pytest.approx(np.std([row.sd for row in rows]), rel=0.2)


def test_numbers_are_those_of_arviz() -> None:
    x = autoregressive(0.6, 3, 101, rng(3)) ** 3
    row = diagnose(x).rows[0]
    assert row.ess_bulk == pytest.approx(float(array_stats.ess(x, method="bulk")), rel=1e-9)
    assert row.ess_tail == pytest.approx(float(array_stats.ess(x, method="tail", prob=(0.05, 0.95))), rel=1e-9)
    assert row.rhat == pytest.approx(float(array_stats.rhat(x, method="rank")), rel=1e-9)
    assert row.mcse_mean == pytest.approx(float(array_stats.mcse(x, method="mean")), rel=1e-9)
    assert (row.mean, row.sd) == pytest.approx((x.mean(), x.std(ddof=1)))


@pytest.mark.parametrize(("scale", "shift"), [(1e-20, 0.0), (1e200, 0.0), (1e-3, 1e6)])
def test_numbers_have_the_unit_of_the_draws(scale: float, shift: float) -> None:
    x = autoregressive(0.6, 4, 200, rng(4))
    plain, scaled = diagnose(x).rows[0], diagnose(scale * x + shift).rows[0]
    assert (scaled.ess_bulk, scaled.ess_tail, scaled.rhat) == pytest.approx(
        (plain.ess_bulk, plain.ess_tail, plain.rhat), rel=1e-4
    )
    errors = plain.sd * scale, plain.mcse_mean * scale, plain.mcse_sd * scale
    assert (scaled.sd, scaled.mcse_mean, scaled.mcse_sd) == pytest.approx(errors, rel=1e-4)


def test_chains_are_not_draws() -> None:
    """Three chains at different places are no draws that went there: with the axes exchanged all looks well."""
    x = normal(3, 400) + 5 * np.arange(3)[:, None]
    found = diagnose(x, names=["theta_1"])
    assert (found.chains, found.draws) == (3, 400)
    assert found.rhat.rhat > 2
    assert found.ess_bulk.ess_bulk < 10
    assert any(said.startswith("R-hat of theta_1 is ") for said in found.sentences)
    assert diagnose(np.swapaxes(x, 0, 1)[:, :]).rhat is None, "three draws each say nothing"


def with_rhat(*rhat: float) -> Convergence:
    found = diagnose(normal(4, 1000, len(rhat)), names=[f"theta_{j}" for j in range(len(rhat))]).quantities
    return replace(found, rhat=np.array(rhat))


def test_sentences_about_rhat() -> None:
    assert with_rhat(1.0, 1.08).sentences() == ["R-hat of theta_1 is 1.08: the chains disagree; draw longer"]
    assert with_rhat(1.02, 1.012).sentences() == [
        "R-hat of theta_0 is 1.020, and 1 other is above 1.01: the chains disagree; draw longer"
    ]
    assert with_rhat(1.0099, 1.0).sentences() == []
    short = replace(with_rhat(1.0, 1.08), draws=50).sentences()
    assert short == [
        "R-hat of theta_1 is 1.08: the chains disagree, or 50 draws of each are too few to tell; draw longer"
    ]
    assert with_rhat(1.01004).sentences() == ["R-hat of theta_0 is 1.01004: the chains disagree; draw longer"]


def test_chains_of_different_width_disagree_in_their_tails_alone() -> None:
    x = normal(4, 1000) * np.array([1, 1, 1, 3])[:, None]
    assert array_stats.rhat(x, method="z_scale") < 1.01
    assert diagnose(x).rhat.rhat > 1.05


def test_a_trend_is_seen_in_one_chain_alone() -> None:
    found = diagnose(normal(1, 1000) + np.linspace(0, 3, 1000))
    assert found.rhat.rhat > 1.2
    assert found.sentences[0].startswith("one chain alone cannot show")
    assert "its halves disagree" in found.sentences[1]
    assert diagnose(normal(1, 1000)).rhat.rhat < 1.01


def test_means_are_held_against_the_true_ones() -> None:
    x = autoregressive(0.5, 4, 1000, rng(5))[..., None] + np.zeros(2)
    right = diagnose(x, truth=Truth(mean=torch.zeros(2)))
    assert abs(right.rows[0].z) < 4
    assert right.sentences[0].startswith("all looks well")
    wrong = diagnose(x, truth=Truth(mean=torch.tensor([0.0, 0.4])))
    assert wrong.rows[1].z == pytest.approx((x[..., 1].mean() - 0.4) / wrong.rows[1].mcse_mean, rel=1e-6)
    assert wrong.sentences == (
        f"the mean of x[1] is {-wrong.rows[1].z:.1f} standard errors below the true one: "
        "the sampler is biased, or has not been everywhere",
    )
    unknown = diagnose(x, truth=Truth(mean=torch.tensor([0.0, torch.nan])))
    assert unknown.rows[1].z is None


def test_the_alarm_about_means_is_false_once_in_a_thousand() -> None:
    generator, trials = rng(6), 150
    alarms = sum(
        len(found._off()) > 0
        for found in (
            diagnose(generator.standard_normal((4, 50, 5)), truth=Truth(mean=torch.zeros(5))).quantities
            for _ in range(trials)
        )
    )
    # Measured: 3 of 1,000, as the errors of 200 draws are rough. At this rate 4 or more of 150 come in 1 of 1,000
    # seeds, and at 5 % fewer than 4 in 6 of 100.
    assert alarms < 4


# --- what cannot be said


@pytest.mark.parametrize(("draws", "said"), [(1, "1 draw per chain says"), (3, "3 draws per chain say")])
def test_few_draws_say_nothing(draws: int, said: str) -> None:
    found = diagnose(normal(4, draws))
    assert found.sentences == (f"{said} nothing about the chains: draw at least 4, better 1000",)
    assert found.rows[0].ess_bulk is found.rows[0].rhat is found.rows[0].mcse_mean is None
    json.dumps(found.as_json(), allow_nan=False)


def test_fewer_than_ten_draws_have_no_effective_sample_size() -> None:
    assert array_stats.ess(np.cumsum(normal(4, 8), axis=1)) > 8 * 4, "arviz-stats would be glad of a random walk"
    found = diagnose(np.cumsum(normal(4, 8), axis=1))
    assert found.ess_bulk is None
    assert found.rhat.rhat > 1.01
    assert found.sentences[-1] == "8 draws per chain are too few for an effective sample size: draw at least 10"


def test_a_chain_that_stands_still_is_told() -> None:
    x = normal(5, 200, 2)
    x[3] = x[3, :1]
    found = diagnose(x)
    assert found.moves.stuck == (3,)
    assert found.sentences[0] == "chain 3 never moved"
    assert found.rhat.rhat > 1.01
    assert found.as_json()["never_moved"] == [3]


def test_chains_that_all_stand_still_are_worth_one_draw_each() -> None:
    found = diagnose(np.repeat(normal(4, 1), 500, axis=1))
    assert found.ess_bulk.ess_bulk <= 4
    assert found.rhat.rhat == np.inf
    assert found.sentences[:2] == (
        "chains 0, 1, 2 and 3 never moved",
        "R-hat of x is infinite: the chains disagree; draw longer",
    )
    json.dumps(found.as_json(), allow_nan=False)
    many = diagnose(np.repeat(normal(40, 1), 20, axis=1))
    assert many.sentences[0] == "chains 0, 1, 2 and 37 others never moved"


def test_a_quantity_that_never_changes_is_told() -> None:
    x = normal(4, 500, 3)
    x[..., 1] = 0.1
    found = diagnose(x)
    assert found.rows[1].mean == 0.1
    assert found.rows[1].sd == 0
    assert found.rows[1].ess_bulk is None
    assert found.sentences == ("x[1] took one value only: nothing can be said of what never changes",)
    assert found.quantities.worst(1) == (1,)


def test_two_values_are_no_obstacle() -> None:
    found = diagnose(np.where(normal(4, 1000) < 1, 1, -1))
    assert 3000 < found.ess_bulk.ess_bulk < 5000
    assert found.rows[0].mcse_mean == pytest.approx(found.rows[0].sd / 4000**0.5, rel=0.1)


# --- moves


def test_moves_are_counted() -> None:
    divergent = np.zeros((4, 1000), bool)
    divergent[2, :12] = True
    accepted = np.full((4, 1000), 0.8)
    accepted[1] = 0.01
    found = diagnose(normal(4, 1000), divergent=divergent, accepted=torch.as_tensor(accepted))
    assert found.sentences == (
        "12 of 4000 moves diverged: raise the target acceptance (aim=0.95) or reparametrise",
        "chain 1 accepts less than 2% of the moves: take smaller steps",
    )
    told = found.as_json()
    walled = diagnose(normal(4, 1000), divergent=np.arange(1000) < 500 + np.zeros((4, 1)))
    assert walled.sentences[0].startswith("2000 of 4000 moves diverged: most often at a bound")
    assert (told["divergences"], told["acceptance"], told["least_acceptance"]) == pytest.approx((12, 0.6025, 0.01))


def test_energies_that_hardly_move_are_seen_and_not_when_shuffled() -> None:
    x, energy = normal(4, 2000), autoregressive(0.9, 4, 2000, rng(7))
    # Of an autoregression it is 2 (1 - rho).
    np.testing.assert_allclose(e_bfmi(energy), 0.2, rtol=0.25)
    slow = diagnose(x, energy=energy)
    assert slow.sentences[0].startswith("the E-BFMI of chains 0, 1, 2 and 3 is below 0.3 (the least is 0.")
    shuffled = rng(8).permuted(energy, axis=1)
    np.testing.assert_allclose(e_bfmi(shuffled), 2, rtol=0.1)
    assert diagnose(x, energy=shuffled).sentences[0].startswith("all looks well")
    one = np.where(np.arange(4)[:, None] == 1, energy, shuffled)
    assert "the E-BFMI of chain 1 is below 0.3" in diagnose(x, energy=one).sentences[0]
    assert diagnose(x, energy=np.ones((4, 2000))).moves.least_bfmi is None


def test_costs_are_held_against_the_smallest_bulk_ess() -> None:
    x = np.stack([normal(4, 500), autoregressive(0.9, 4, 500, rng(9))], axis=-1)
    found = diagnose(x, seconds=4.0, gradient_evaluations=2000, density_evaluations=8000)
    least = found.quantities.ess_bulk[1]
    assert least < found.quantities.ess_bulk[0]
    assert found.ess_per_second == pytest.approx(least / 4)
    assert found.ess_per_gradient == pytest.approx(least / 2000)
    assert found.ess_per_evaluation == pytest.approx(least / 8000)
    assert diagnose(x, seconds=0, gradient_evaluations=0).ess_per_gradient is None


# --- modes


def test_modes_that_a_chain_never_visited_are_told() -> None:
    which = rng(10).integers(0, 4, (4, 500))
    which[2] = 1
    found = diagnose(near(which), truth=FOUR)
    assert "3 of 4 modes were never visited by chain 2" in found.sentences
    assert list(found.modes.per_chain) == [4, 4, 1, 4]
    assert found.modes.visited == 4
    assert diagnose(near(which)).modes is None
    assert not any("mode" in said for said in diagnose(near(which)).sentences)


def test_modes_that_no_chain_visited_are_told_once() -> None:
    found = diagnose(near(rng(11).integers(0, 3, (4, 500))), truth=FOUR)
    assert found.sentences[0] == (
        "1 of 4 modes was never visited by any chain: start chains elsewhere, or temper the target"
    )
    assert not any("by chain" in said for said in found.sentences)
    assert found.modes.total_variation == pytest.approx(0.25, abs=0.03)
    assert found.modes.floor is None


def test_of_many_chains_that_missed_modes_the_worst_is_named() -> None:
    which = np.repeat(np.arange(12)[:, None] % 4, 50, axis=1)
    found = diagnose(near(which), truth=FOUR)
    assert "12 of 12 chains missed modes that others visited; 3 of 4 modes were never visited by chain 0" in (
        found.sentences
    )
    # Twelve chains that stay are twelve draws.
    assert found.modes.errors == pytest.approx(np.full(4, (0.25 * 0.75 / 12) ** 0.5))


def test_shares_have_the_errors_of_chains_that_stay() -> None:
    """An indicator that stays with probability .95 is worth n (1 - .9) / (1 + .9) draws."""
    generator, trials = rng(12), 60

    def modes(true: np.ndarray) -> list:
        flips = generator.random((trials, 4, 500)) < 0.05
        start = generator.integers(0, 2, (trials, 4, 1))
        return [mode_visits(labels, true) for labels in (start + np.cumsum(flips, axis=-1)) % 2]

    found = modes(np.array([0.5, 0.5]))
    exact = np.sqrt(0.25 / 2000 * 1.9 / 0.1)
    # The mean of 60 estimates and their spread have relative errors of 3 and 9 % (measured).
    assert np.mean([m.errors[0] for m in found]) == pytest.approx(exact, rel=0.15)
    assert np.std([m.shares[0] for m in found]) == pytest.approx(exact, rel=0.4)
    assert np.mean([m.total_variation for m in found]) == pytest.approx(np.mean([m.floor for m in found]), rel=0.4)
    assert sum(len(m.sentences()) > 0 for m in found) <= 2
    wrong = modes(np.array([0.1, 0.9]))
    # Errors are far too large now and then: of 1,000 of these ESS of 105, ten were below 35, and one was 17.
    assert sum(len(m.sentences()) == 1 for m in wrong) >= 56
    found = Modes(np.array([3]), np.array([0.5, 0.3, 0.2]), np.full(3, 0.02), np.array([0.25, 0.45, 0.3]))
    assert found.sentences() == [
        "the share of mode 0 is 0.5 and should be 0.25, 12.5 standard errors away; modes 1 and 2 are off too"
    ]
    assert replace(found, errors=np.full(3, 0.1)).sentences() == []
    assert (found.total_variation, found.floor) == pytest.approx((0.25, 0.03 * (2 / np.pi) ** 0.5))


@pytest.mark.parametrize("labels", [np.array([[0, 4]]), np.array([[-1, 0]]), np.array([[0.0, 1.0]]), np.array([0, 1])])
def test_labels_that_are_no_modes_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(BadInput, match="modes must be"):
        mode_visits(labels, np.full(4, 0.25))


# --- what is handed over


class Box:
    """A target on events of shape (2,)."""

    event_shape = (2,)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(1)


PROBLEM = Problem(
    Box(), "box", truth=replace(FOUR, mean=torch.tensor([3.0])), names=("sum",), quantities=lambda x: x.sum(1, True)
)


def test_a_problem_brings_quantities_names_and_truth(monkeypatch) -> None:
    monkeypatch.setattr(chain_draws, "BLOCK", 300)
    x = torch.as_tensor(near(rng(13).integers(0, 4, (4, 500)))).float()
    found = diagnose(x, problem=PROBLEM)
    assert [row.name for row in found.rows] == ["sum"]
    assert found.rows[0].mean == pytest.approx(float(x.double().sum(-1).mean()), rel=1e-6)
    assert abs(found.rows[0].z) < 5
    assert found.modes.visited == 4
    assert diagnose(x, problem=PROBLEM, truth=Truth()).modes is None


@pytest.mark.parametrize(
    ("shape", "names"), [((4, 20), ("x",)), ((4, 20, 2), ("x[0]", "x[1]")), ((4, 20, 1, 2), ("x[0, 0]", "x[0, 1]"))]
)
def test_numbers_of_an_event_have_names(shape: tuple[int, ...], names: tuple[str, ...]) -> None:
    x = normal(*shape)
    found = diagnose(torch.as_tensor(x).bfloat16().requires_grad_())
    assert found.quantities.names == names
    assert found.rows[-1].mean == pytest.approx(x.reshape(4, 20, -1)[..., -1].mean(), abs=0.02)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draws_that_are_not_finite_are_named(bad: float) -> None:
    x = normal(3, 50, 2)
    x[2, 17, 1] = bad
    with pytest.raises(BadInput, match=rf"^b is {bad} in draw 17 of chain 2; "):
        diagnose(x, names=["a", "b"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ["a"]}, "1 names for 2 quantities"),
        ({"energy": np.zeros((20, 4))}, "energy has the shape"),
        ({"energy": np.full((4, 20), np.nan)}, "energy is nan in draw 0 of chain 0"),
        ({"accepted": np.full((4, 20), 1.5)}, "accepted must lie between 0 and 1"),
        ({"truth": Truth(mean=torch.zeros(3))}, "3 true means"),
        ({"problem": replace(PROBLEM, names=("a", "b"))}, "2 names for 1 quantities"),
        ({"seconds": -1.0}, "seconds must be positive"),
        ({"seconds": "1"}, "seconds must be a number"),
        ({"gradient_evaluations": 1.5}, "gradient_evaluations must be a whole number"),
        ({"draws": normal(4)}, r"the shape \(4,\)"),
        ({"draws": np.zeros((0, 4))}, r"the shape \(0, 4\)"),
        ({"draws": np.array([["a", "b"]])}, "draws must be real numbers"),
        ({"draws": normal(4, 20, 3), "problem": PROBLEM}, r"events of shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        diagnose(**{"draws": normal(4, 20, 2), **given})


def test_many_chains_and_many_quantities_take_seconds() -> None:
    began = time.monotonic()
    wide = diagnose(normal(4096, 20, 4).astype(np.float32))
    assert wide.sentences[0].startswith("all looks well")
    x = normal(4, 200, 256)
    x[0, :, 77] += 3
    found = diagnose(x)
    # A second on an idle core.
    assert time.monotonic() - began < 20
    assert len(found.rows) == 20
    assert found.rows[0].name == "x[77]"
    assert len(found.quantities.rhat) == 256
    assert found.as_json()["quantities"] == 256


def test_all_of_it_is_json() -> None:
    found: Diagnostics = diagnose(near(rng(14).integers(0, 4, (4, 100))), truth=FOUR, accepted=np.ones((4, 100)))
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["worst_rhat"] == max(row["rhat"] for row in told["rows"])
    assert told["worst_ess_bulk"] == min(row["ess_bulk"] for row in told["rows"])
    assert told["worst_ess_tail"] == min(row["ess_tail"] for row in told["rows"])
    assert told["worst_rhat_of"] in ("x[0]", "x[1]")
    assert told["modes"]["visited"] == 4
    assert told["sentences"] == list(found.sentences)


# --- ArviZ


def test_arviz_finds_what_it_looks_for() -> None:
    x, energy = normal(3, 40, 2), normal(3, 40)
    moves = {"energy": energy, "log_prob": -energy, "divergent": energy > 2, "leaps": np.full((3, 40), 7)}
    tree = to_arviz(x, accepted=np.ones((3, 40), bool), **moves)
    assert tree["posterior"]["x"].dims[:2] == ("chain", "draw")
    np.testing.assert_array_equal(tree["posterior"]["x"], x)
    stats = tree["sample_stats"]
    assert set(stats.data_vars) == {"acceptance_rate", "diverging", "energy", "lp", "n_steps"}
    np.testing.assert_array_equal(stats["energy"], energy)
    assert stats["diverging"].dtype == bool
    assert stats["n_steps"].dtype == np.int64


def test_arviz_has_one_variable_per_name() -> None:
    x = torch.as_tensor(normal(30, 10, 2))
    tree = to_arviz(x, problem=PROBLEM)
    assert set(tree["posterior"].data_vars) == {"sum"}
    np.testing.assert_allclose(tree["posterior"]["sum"], x.sum(-1))
    groups = arviz_groups(x, names=["a", "b"])
    assert list(groups) == ["posterior"]
    np.testing.assert_array_equal(groups["posterior"]["b"], x[..., 1])
    with pytest.raises(BadInput, match="the same name"):
        arviz_groups(x, names=["a", "a"])


def test_without_arviz_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "arviz_base", None)
    with pytest.raises(BadInput, match=r"pip install 'driftback\[arviz\]'"):
        to_arviz(normal(2, 10))
