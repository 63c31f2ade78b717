"""Filling in with a fitted model: what is seen stays, the rest follows it, and what cannot be is refused in a line."""

import math

import numpy as np
import pytest
import torch

import driftback as db
from driftback.distributions.observation import Observation
from driftback.errors import BadInput
from driftback.recipes import posterior as recipe
from driftback.recipes import seen
from driftback.recipes.conditions import Wanted
from driftback.recipes.factor import Seen
from driftback.recipes.model import Model
from driftback.recipes.posterior import METHODS, fill, usual

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def line() -> Model:
    """Two columns, y = 2 x + noise of .5, in units that differ."""
    rng = np.random.default_rng(0)
    x = rng.normal(10, 3, 2000)
    return db.fit(np.stack([x, 2 * x + 0.5 * rng.normal(size=2000)], 1), steps=400, batch=128, seed=0)


@pytest.fixture(scope="module")
def pictures() -> Model:
    """Pictures of 8 x 8 in colour, each of one colour: what is left of it tells the rest."""
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 225, (400, 1, 1, 3))
    x = np.clip(np.broadcast_to(colours, (400, 8, 8, 3)) + rng.integers(-5, 6, (400, 8, 8, 3)), 0, 255)
    return db.fit(x.astype(np.uint8), steps=150, batch=32, seed=0, method="edm", network="tiny")


@pytest.mark.parametrize("method", [pytest.param(m, marks=SLOW) if m == "repaint" else m for m in METHODS])
def test_a_column_follows_another(line: Model, method: str) -> None:
    """y given x = 13 is N(26, .5^2); without it y is N(20, 6^2)."""
    known = seen.columns(line.config, {"0": 13.0})
    found = fill(line, known, 256, method=method, steps=60, seed=1)
    assert found.x.shape == (256, 2)
    off, wide = abs(found.x[:, 1].mean() - 26), found.x[:, 1].std()
    # dps pulls by the misfit's norm, however little that says. The others: up to .9 off, by the network's errors.
    assert off < (5 if method == "dps" else 1.5)
    assert wide < 2.5
    if method != "dps":
        assert np.allclose(found.x[:, 0], 13.0, atol=0.3)
    assert (found.effective is not None) == (method == "smc")


@pytest.fixture(scope="module")
def kinds() -> Model:
    """Two columns in two classes: around (-3, -3) and (3, 3), half of the items each."""
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 2
    x = 0.5 * rng.normal(size=(2000, 2)) + 6 * y[:, None] - 3
    return db.fit(x, np.where(y, "up", "down"), steps=300, batch=128, seed=0)


@pytest.mark.parametrize("method", ["smc", "mmps"])
def test_what_is_seen_tells_the_class(kinds: Model, method: str) -> None:
    """Of no class that was asked for, but of the one that x = 3 goes with; and of those that were, item by item."""
    known = seen.columns(kinds.config, {"0": 3.0}, 0.1)
    free = fill(kinds, known, 100, method=method, steps=60, seed=1).x
    assert (free[:, 1] > 1.5).mean() > 0.9
    wide = seen.columns(kinds.config, {"0": 0.0}, 3.0)
    asked = fill(kinds, wide, 40, method=method, steps=60, seed=1, wanted=Wanted(["up", "down"] * 20)).x
    assert (asked[::2, 1] > 1).all()
    assert (asked[1::2, 1] < -1).all()


def test_the_default_is_by_kind(line: Model, pictures: Model) -> None:
    known = seen.columns(line.config, {"0": 13.0})
    assert usual(line.config, Seen(known)) == "smc"
    assert usual(pictures.config, Seen(known)) == "mmps"
    assert fill(line, known, 5, steps=10).effective is not None


def test_smc_tells_how_probable_what_is_seen_is(line: Model) -> None:
    """log p(y) of the column, which is N(10, 3^2)."""
    usual = fill(line, seen.columns(line.config, {"0": 10.0}, 0.1), 64, method="smc", particles=512, steps=60)
    rare = fill(line, seen.columns(line.config, {"0": 19.0}, 0.1), 64, method="smc", particles=512, steps=60)
    assert usual.log_evidence == pytest.approx(-0.5 * math.log(2 * math.pi) - math.log(3), abs=0.4)
    assert rare.log_evidence < usual.log_evidence - 2
    assert usual.effective > 50


def test_an_impossible_observation_is_told(line: Model) -> None:
    """By weights that collapse on the way, whatever copies make of them at the end, and by draws like no item."""
    far = seen.columns(line.config, {"0": 100.0})
    cloud, alone = fill(line, far, 8, particles=256, steps=30), fill(line, far, 8, method="pigdm", steps=30)
    assert any("weights have collapsed" in said for said in cloud.said)
    assert min(cloud.reach, alone.reach) > 5
    hurried = fill(line, seen.columns(line.config, {"0": 13.0}, 0.001), 8, method="dps", steps=5)
    assert hurried.misfit > 3
    assert any("the draws miss what was seen by" in said for said in hurried.said)
    usual = fill(line, seen.columns(line.config, {"0": 13.0}, 0.1), 200, steps=60)
    assert usual.said == ()
    assert usual.misfit == pytest.approx(1.0, abs=0.25)


def test_what_is_beyond_all_numbers_is_refused(line: Model) -> None:
    for value, noise, said in ((1e30, 0.01, "deviations from the data"), (13.0, 1e-8, "give 1e-06 or more")):
        with pytest.raises(BadInput, match=said):
            seen.columns(line.config, {"0": value}, noise)
    known = Observation(lambda z: z[:, :1], torch.tensor([1e25]), 1e-3, (2,))
    with pytest.raises(BadInput, match="effective number of 0: the observation is improbable"):
        fill(line, known, 5, steps=10, particles=50)


def test_columns_that_are_alike_are_known_exactly() -> None:
    """Their covariance has next to no rank: what rounding leaves of it has still to be factorised."""
    x = np.random.default_rng(0).normal(10, 3, 1000)
    rows = np.stack([x, 2 * x, -x, x + 3], 1)
    model = db.fit(rows, steps=200, batch=128, seed=0)
    known = seen.columns(model.config, {"0": 13.0, "1": 26.0, "2": -13.0}, 1e-6)
    for method in ("mmps", "smc"):
        assert np.isfinite(fill(model, known, 20, method=method, steps=20).x).all()


def test_an_evidence_is_in_the_units_of_the_data(line: Model) -> None:
    """Of a column ten times as wide it is log 10 less."""
    config, wider = line.config, line.config.preprocessing.model_copy(update={"scale": (30.0, 6.0)})
    assert seen.columns(config, {"0": 13.0}).log_scale == pytest.approx(math.log(config.preprocessing.scale[0]))
    wide = seen.columns(
        config.model_copy(update={"preprocessing": wider}),
        {
            "0": 13.0,
        },
    )
    assert wide.log_scale == pytest.approx(math.log(30))
    one, other = (
        fill(line, known, 20, steps=60, particles=100).log_evidence
        for known in (seen.columns(config, {"0": 13.0}), seen.through(config, lambda z: z[:, :1], [1.0], 0.01))
    )
    # log N(13; 10, 3^2), and of the code N(1; 0, 1).
    assert one == pytest.approx(-0.5 * math.log(2 * math.pi) - 0.5 - math.log(3), abs=0.4)
    assert other == pytest.approx(-0.5 * math.log(2 * math.pi) - 0.5, abs=0.4)


def test_a_model_that_remembers_is_not_pulled() -> None:
    """Its derivative is next to none at little noise; the seen part is put in its place."""
    data = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    model, hide = db.fit(data, method="recorded", seed=0), np.arange(64).reshape(8, 8) % 8 > 3
    known = seen.hidden(model.config, data[3], hide)
    assert usual(model.config, Seen(known)) == "repaint"
    found = fill(model, known, 4, steps=20)
    assert (found.x[:, ~hide] == data[3][~hide]).mean() > 0.99
    assert (found.x == data[3]).mean() > 0.6, (
        "one in two is the item itself, which shares half of its pixels with no other"
    )
    pulled = fill(model, known, 4, steps=20, method="mmps")
    assert (pulled.x[:, ~hide] == data[3][~hide]).mean() < 0.9
    assert usual(model.config, Seen(seen.smaller(model.config, data[3, ::2, ::2], 2))) == "smc"


def test_the_fewest_particles_that_counted_are_told(line: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies make the last weights even again: what counts is where they were fewest."""
    sizes = iter([500.0, 3.0, *[900.0] * 100])
    monkeypatch.setattr(recipe, "effective", lambda weights: next(sizes))
    found = fill(line, seen.columns(line.config, {"0": 13.0}), 5, steps=10)
    assert found.effective == 3.0
    assert "3.0 of 1024 particles counted where fewest did" in found.said[-1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ddpm", marks=SLOW),
        pytest.param("vdm", marks=SLOW),
        pytest.param("flow", marks=SLOW),
        pytest.param("score-sde-ve", marks=SLOW),
    ],
)
def test_networks_that_are_rough_at_much_noise_fill_in_too(name: str) -> None:
    """sigma^2 / alpha multiplies the errors of their derivative: taken as exact, columns end millions off."""
    rng = np.random.default_rng(0)
    x = rng.normal(10, 3, 2000)
    model = db.fit(np.stack([x, 2 * x + 0.5 * rng.normal(size=2000)], 1), steps=400, batch=128, seed=0, method=name)
    known = seen.columns(model.config, {"0": 13.0})
    for way in ("mmps", "pigdm", "smc"):
        found = fill(model, known, 128, method=way, steps=60, seed=1).x
        assert abs(found[:, 1].mean() - 26) < 1.5, way
        assert found[:, 1].std() < 2.5, way
        assert np.abs(found[:, 0] - 13).mean() < 0.3, way


def test_any_shape_of_what_is_seen(line: Model) -> None:
    """One number of an item, whole numbers, and what cannot be: many at once, nothing, and what rounds."""
    one = seen.through(line.config, lambda z: z.sum(1), 2.0, 0.1)
    assert fill(line, one, 20, method="mmps", steps=30).misfit < 3
    whole = Observation(lambda z: z[:, :1], torch.tensor([1]), 0.1, (2,))
    assert fill(line, whole, 20, method="smc", steps=30).misfit < 3
    many = Observation(lambda z: z[:, :1], torch.zeros(20, 1), 0.1, (2,))
    with pytest.raises(BadInput, match=r"one observation at a time: y is \(20, 1\), and of an item \(1,\) is seen"):
        fill(line, many, 20)
    for operator, y, said in (
        (lambda z: z[:, :1].round(), [1.0], "derivative is 0"),
        (lambda z: z[:, :0], [], "sees nothing"),
        (lambda z: 0 * z[:, :1], [1.0], "derivative is 0"),
    ):
        with pytest.raises(BadInput, match=said):
            Observation(operator, torch.tensor(y), 0.1, (2,))
    bent = Observation(lambda z: z[:, :1].clamp(-5, 5), torch.tensor([1.0]), 0.1, (2,))
    assert not bent.linear, "straight for items that are near alone"


@pytest.mark.parametrize("method", ["mmps", "repaint"])
def test_a_hidden_half_is_filled_in(pictures: Model, method: str) -> None:
    item = np.full((8, 8, 3), (200, 60, 120), np.uint8)
    hide = np.zeros((8, 8), bool)
    hide[:, 4:] = True
    found = fill(pictures, seen.hidden(pictures.config, item, hide), 4, method=method, steps=30, seed=2)
    assert found.x.dtype == np.uint8
    known = found.x[:, :, :4].astype(float)
    assert np.abs(known - item[:, :4]).mean() < 8, "what is seen stays"
    free = pictures.sample(4, seed=2, steps=30).astype(float)
    apart = np.abs(found.x[:, :, 4:].astype(float).mean((1, 2)) - item[0, 0]).mean()
    assert apart < 0.5 * np.abs(free[:, :, 4:].mean((1, 2)) - item[0, 0]).mean(), "what is hidden follows it"
    other = item.astype(np.int64)
    other[:, 4:] = 999
    same = fill(pictures, seen.hidden(pictures.config, other, hide), 4, method=method, steps=30, seed=2)
    assert (same.x == found.x).all(), "what is hidden is not looked at"


def test_pictures_that_are_smaller_grey_or_blurred(pictures: Model) -> None:
    small = np.full((4, 4, 3), (200, 60, 120), np.uint8)
    found = fill(pictures, seen.smaller(pictures.config, small, 2), 3, steps=30).x
    means = found.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    assert np.abs(means - small).mean() < 10
    luma = np.full((8, 8), 120, np.uint8)
    coloured = fill(pictures, seen.grey(pictures.config, luma), 3, steps=30).x
    assert np.abs(coloured @ np.array([0.299, 0.587, 0.114]) - 120).mean() < 20
    blurred = np.full((8, 8, 3), (200, 60, 120), np.uint8)
    sharp = fill(pictures, seen.blurred(pictures.config, blurred, 0.7), 3, steps=30).x
    assert np.abs(sharp.astype(float).mean((1, 2)) - blurred[0, 0]).mean() < 15


def test_a_function_of_ones_own(line: Model) -> None:
    """The sum of the encoded columns."""
    known = seen.through(line.config, lambda z: z.sum(1, keepdim=True), [2.0], 0.05)
    x = fill(line, known, 128, steps=40, method="mmps").x
    z = line.config.preprocessing.encode(x)
    assert float(z.sum(1).mean()) == pytest.approx(2.0, abs=0.1)


def test_items_do_not_depend_on_how_many(line: Model) -> None:
    known = seen.columns(line.config, {"1": 18.0})
    few, more, other = (
        fill(line, known, n, steps=10, seed=seed, method="mmps").x for n, seed in ((3, 4), (6, 4), (3, 5))
    )
    assert (few == more[:3]).all()
    assert (few != other).any()
    many = fill(line, known, 1424, steps=40, seed=4, method="pigdm").x[:, 0]
    # Independent items have a correlation within .2 in all but one of 10,000 trials; with the same noise it is near 1.
    assert abs(np.corrcoef(many[1024:], many[:400])[0, 1]) < 0.2, "another block has noise of its own"
    ways = list[tuple[int, int]]()
    fill(line, known, 3, steps=10, method="smc", progress=lambda done, total: ways.append((done, total)))
    assert ways[-1] == (10, 10)


def test_what_cannot_be_is_refused(line: Model, pictures: Model) -> None:
    item, hide = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool)
    cases = [
        (lambda: seen.hidden(pictures.config, item, hide), "hides nothing"),
        (lambda: seen.hidden(pictures.config, item, ~hide), "hides everything"),
        (lambda: seen.hidden(pictures.config, item[:4], hide), "bring it to that"),
        (lambda: seen.hidden(pictures.config, item, hide[:4]), "agree"),
        (lambda: seen.columns(line.config, {"2": 1.0}), "no column '2'.*known are 0, 1"),
        (lambda: seen.columns(line.config, {"0": 1.0, "1": 2.0}), "all columns are given"),
        (lambda: seen.columns(pictures.config, {"0": 1.0}), "pictures"),
        (lambda: seen.smaller(pictures.config, item, 2), "bring the picture to 4 x 4"),
        (lambda: seen.smaller(line.config, item, 2), "draws points"),
        (lambda: seen.grey(pictures.config, item), "in grey"),
        (lambda: seen.hidden(pictures.config, item, hide, noise=0.0), "hides nothing"),
        (lambda: seen.columns(line.config, {"0": 1.0}, 0.0), "above 0"),
        (lambda: fill(line, seen.columns(line.config, {"0": 1.0}), 3, method="dsp"), "did you mean dps"),
        (lambda: fill(line, seen.columns(line.config, {"0": 1.0}), 3, method="mmps", particles=9), "belong to smc"),
        (lambda: fill(line, seen.columns(line.config, {"0": 1.0}), 9, method="smc", particles=3), "at least 9"),
        (lambda: fill(pictures, seen.columns(line.config, {"0": 1.0}), 3), "the observation is of items"),
        (lambda: fill(pictures, seen.smaller(pictures.config, item[:4, :4], 2), 1, method="repaint"), "wants a mask"),
        (lambda: fill(line, seen.columns(line.config, {"0": 1.0}), 3, wanted=Wanted("red")), "no classes"),
    ]
    for make, said in cases:
        with pytest.raises(BadInput, match=said) as error:
            make()
        assert "\n" not in str(error.value)


def test_channels_first_and_grey_pictures_are_seen_as_others() -> None:
    rng = np.random.default_rng(0)
    first = db.fit(rng.integers(0, 256, (60, 3, 8, 8)).astype(np.uint8), steps=1, network="tiny", method="edm")
    small = seen.smaller(first.config, rng.integers(0, 256, (4, 4, 3)).astype(np.uint8), 2)
    assert tuple(small.y.shape) == (3, 4, 4)
    hide = np.zeros((8, 8), bool)
    hide[0] = True
    part = seen.hidden(first.config, rng.integers(0, 256, (3, 8, 8)).astype(np.uint8), hide)
    assert part.numbers == 3 * 56
    assert part.noise == pytest.approx(0.01 * first.config.spread)
    assert first.config.spread < 0.8, "which is not 1"
    grey = db.fit(rng.integers(0, 256, (60, 8, 8)).astype(np.uint8), steps=1, network="tiny", method="edm")
    with pytest.raises(BadInput, match="grey already"):
        seen.grey(grey.config, np.zeros((8, 8), np.uint8))
    assert torch.equal(
        seen.hidden(grey.config, np.full((8, 8), 255, np.uint8), hide).y, torch.ones(56, dtype=torch.float32)
    )
