"""A fitted model from Python: the same items however they are asked for, saved and loaded whole, honest densities."""

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import driftback as db
from driftback.arguments import told
from driftback.data.loading import load as load_data
from driftback.evaluation.metric import UNKNOWN
from driftback.networks.presets import NetworkSpec
from driftback.pictures.filmed import scenes
from driftback.pictures.scene import Points, Tiles
from driftback.recipes import scoring as recipe
from driftback.recipes.evaluate import evaluate, original, real_items
from driftback.recipes.methods import METHODS
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare
from driftback.training.health import Measurement
from driftback.training.plan import Plan


@pytest.fixture(scope="module")
def points() -> Model:
    return db.fit("two-moons", n=400, steps=40, seed=0)


@pytest.fixture(scope="module")
def digits() -> Model:
    return db.fit("digits", n=300, steps=6, batch=32, seed=0)


@pytest.mark.parametrize("kind", ["points", "digits"])
class TestSample:
    def test_units_layout_and_type(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        x = model.sample(5, seed=1, steps=3)
        assert x.shape == (5, *model.config.preprocessing.event)
        assert x.dtype == np.dtype(model.config.preprocessing.dtype)
        if kind == "digits":
            assert set(np.unique(x)) <= set(range(17))

    def test_item_i_is_the_same_for_every_n(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        many = model.sample(model.block + 10, seed=3, steps=3)
        for n in (1, 10, model.block):
            assert np.array_equal(many[:n], model.sample(n, seed=3, steps=3))
        assert not np.array_equal(many[:10], model.sample(10, seed=4, steps=3))

    def test_item_i_is_the_same_for_every_batch_size(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        whole = model.sample(40, seed=3, steps=3)
        for size in (1, 7, 32):
            assert np.array_equal(whole, model.sample(40, seed=3, steps=3, batch_size=size)), size
        assert np.allclose(whole, model.sample(40, seed=3, steps=3, batch_size=model.block + 1), atol=1e-4)

    def test_frames_end_in_the_samples(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        frames = list(model.frames(4, seed=2, steps=3))
        assert len(frames) == 4
        assert [f.t for f in frames] == sorted((f.t for f in frames), reverse=True)
        shown = model.config.preprocessing.decode(frames[-1].x)
        assert np.allclose(shown, model.sample(4, seed=2, steps=3), atol=1e-4)
        one = list(model.frames(1, seed=2, steps=3, first=3))
        assert torch.allclose(one[-1].x, frames[-1].x[3:], atol=1e-4)
        # What a film asks of them: the same items in the units of the data, and the words that are theirs.
        way = model.frames(1, seed=2, steps=3, first=3)
        assert np.array_equal(way.items(frames[-1])[3], shown[3])
        words = model.given(4, seed=2).words or ()
        assert way.words == words[3:]
        assert len(way.words) == (kind == "digits")
        *_, scene = scenes(way)
        assert (scene.moment, type(scene.panels[0].layers[0])) == (
            "noise / data = 0",
            Tiles if kind == "digits" else Points,
        )

    def test_nonsense_is_refused_in_one_line(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        for wrong in ({"n": 0}, {"n": 3, "batch_size": 0}, {"n": 3, "steps": 0}, {"n": 3, "guidance": -1.0}):
            with pytest.raises(db.BadInput) as caught:
                model.sample(**wrong)
            assert "\n" not in str(caught.value)

    def test_save_and_load(self, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        model: Model = request.getfixturevalue(kind)
        model.save(tmp_path / "m")
        kept = {"config.json", "weights.safetensors", "training/early.safetensors"}
        assert {str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*.*")} == kept
        again = db.load(tmp_path / "m")
        assert again.config == model.config
        assert np.array_equal(again.sample(3, seed=1, steps=3), model.sample(3, seed=1, steps=3))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m: m.sample(2.5), "n must be a whole number, not 2.5"),
        (lambda m: m.sample(3, steps=2.5), "steps must be a whole number"),
        (lambda m: m.sample(3, batch_size="4"), "batch_size must be a whole number"),
        (lambda m: m.sample(3, guidance="1"), "guidance must be a number, not '1'"),
        (lambda m: m.score_samples(np.zeros((0, 2))), "no items to score"),
        (lambda m: db.evaluate(m, n=0), "n must be at least 1"),
        (lambda m: db.fit("two-moons", minutes="1"), "minutes must be a number, not '1'"),
        (lambda m: db.fit("two-moons", steps=5.5), "steps must be a whole number"),
        (lambda m: db.fit("two-moons", steps=5, held_out="half"), "held_out must be a number"),
        (lambda m: db.fit("two-moons", steps=5, seed="1"), "seed must be a whole number"),
        (lambda m: db.fit("two-moons", steps=5, n="many"), "n must be a whole number"),
        (lambda m: db.fit("two-moons", step=5), "fit has no argument step: did you mean steps?"),
        (lambda m: db.fit("two-moons", steps=5, zebra=1), "fit has no argument zebra: it takes source, y"),
        (lambda m: db.fit("two-moons", steps=5, n=50, learning_rate=math.inf), "learning rate"),
    ],
)
def test_slips_in_python_are_told_in_one_line(points: Model, call: Callable[[Model], object], told: str) -> None:
    with pytest.raises(db.BadInput, match=re.escape(told)) as caught:
        call(points)
    assert "\n" not in str(caught.value)


def test_what_pydantic_refuses_is_told_in_one_line() -> None:
    @told
    def planned(steps: int) -> Plan:
        return Plan(steps=steps)

    with pytest.raises(db.BadInput, match="steps cannot be 0: input should be greater than"):
        planned(0)


def test_a_model_tells_what_it_is(points: Model, digits: Model) -> None:
    assert repr(points).startswith("Model(two-moons: points of 2, method edm, ")
    assert "parameters, 40 steps" in repr(points)
    assert "classes: 0, 1, 2" in repr(digits)
    assert max(repr(points).count("\n"), repr(digits).count("\n")) == 1
    assert "score_samples" in str(Model.__doc__)
    assert {"minutes", "steps", "held_out", "columns"} <= set(inspect.signature(db.fit).parameters)


def test_a_saved_model_is_replaced_only_with_force(points: Model, tmp_path: Path) -> None:
    points.save(tmp_path / "m")
    (tmp_path / "m" / "metrics.jsonl").write_text("")
    with pytest.raises(db.BadInput, match="force=True"):
        points.save(tmp_path / "m")
    points.save(tmp_path / "m", force=True)
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"config.json", "weights.safetensors", "training"}


def test_a_model_is_judged_in_one_call(points: Model) -> None:
    fresh = load_data("two-moons", n=100, seed=5).x
    for found in (db.evaluate(points, n=60), db.evaluate(points, fresh, n=60)):
        assert "sliced Wasserstein-1" in repr(found)
        assert repr(found).count("\n") == len(found.metrics) - 1


class TestClasses:
    def test_labels_follow_the_data(self, digits: Model) -> None:
        labels = digits.labels(4000, seed=0)
        assert labels is not None
        shares = np.bincount(labels, minlength=10) / 4000
        expected = np.array(digits.config.class_counts) / sum(digits.config.class_counts)
        # 4,000 draws: a share's standard error is under .0055; 5 of them.
        assert np.abs(shares - expected).max() < 0.0275
        assert np.array_equal(labels[:7], digits.labels(7, seed=0))

    def test_one_label_or_one_each(self, digits: Model) -> None:
        assert digits.labels(3, label=7).tolist() == [7, 7, 7]
        assert digits.labels(2, label=["3", 4]).tolist() == [3, 4]
        with pytest.raises(db.BadInput, match="2 labels"):
            digits.labels(3, label=[1, 2])
        with pytest.raises(db.BadInput, match=r"no class 'cat'.* 0 \(\d+\), 1 \(\d+\)"):
            digits.sample(1, label="cat")

    def test_a_plain_model_knows_none(self, points: Model) -> None:
        assert points.classes == ()
        for wrong in ({"label": 1}, {"guidance": 2.0}):
            with pytest.raises(db.BadInput, match="class"):
                points.sample(2, **wrong)

    def test_label_matters_and_guidance_too(self, digits: Model) -> None:
        one, seven = (digits.sample(2, label=k, seed=0, steps=3) for k in (1, 7))
        assert not np.array_equal(one, seven)
        assert not np.array_equal(one, digits.sample(2, label=1, seed=0, steps=3, guidance=3.0))


class TestDensity:
    def test_points_in_their_own_units(self, points: Model) -> None:
        """A model of data in other units has the same density there, up to the logarithm of the units."""
        x = load_data("two-moons", n=400).x
        other = db.fit(1000 * x + 5, steps=40, seed=0)
        a, b = points.score_samples(x[:20]), other.score_samples(1000 * x[:20] + 5)
        assert np.allclose(a, b + 2 * math.log(1000), atol=0.05)

    def test_digits_are_a_probability(self, digits: Model) -> None:
        data = load_data("digits")
        found = digits.log_likelihood(data.x[:64], data.y[:64])
        assert "bound" in found.method
        assert 2.0 < digits.bits_per_dim(found.mean) < 4.087, "worse than a long fit, better than the uniform law"
        assert found.standard_error is not None

    def test_wrong_data_is_refused(self, digits: Model, points: Model) -> None:
        with pytest.raises(db.BadInput, match="shape"):
            digits.score_samples(np.zeros((2, 7, 8)))
        with pytest.raises(db.BadInput, match="level"):
            digits.score_samples(np.full((2, 8, 8), 0.5))
        with pytest.raises(db.BadInput, match="NaN"):
            points.score_samples(np.full((2, 2), np.nan))
        with pytest.raises(db.BadInput, match="classes"):
            points.score_samples(np.zeros((2, 2)), [0, 1])


class TestWholeColumns:
    """A coin, a normal number whose mean follows it, and a column that never changes: the truth is known exactly."""

    @staticmethod
    def draw(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coin = rng.integers(0, 2, n)
        return np.stack([coin, rng.normal(2 * coin, 1.0), np.full(n, 7.0)], 1)

    def test_their_probability_is_bounded_from_below(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, x = db.fit(self.draw(2000, 0), steps=300, batch=256, seed=0), self.draw(40, 1)
        truth = float(np.log(0.5) + stats.norm.logpdf(x[:, 1] - 2 * x[:, 0]).mean())
        found = model.log_likelihood(x)
        # Measured: .34 below, and .06 after 1,500 steps without the third column.
        assert truth - 0.6 < found.mean < truth + 0.1
        assert found.method.endswith(", uniform dequantisation of the discrete columns, 4 draws")
        drawn = model.sample(500, seed=0, steps=20)
        assert np.isin(drawn[:, 0], (0, 1)).mean() > 0.99
        assert (drawn[:, 2] == 7).all()
        # Planted fault: the density at the whole numbers themselves, of which there is no end as training goes on.
        monkeypatch.setattr(recipe, "cells", lambda config: None)
        monkeypatch.setattr(recipe, "raw_units", lambda config: (config.preprocessing.log_det, ""))
        assert model.log_likelihood(x).mean > truth + 0.5

    def test_all_columns_whole_on_many_levels(self) -> None:
        """A row of whole numbers has a probability, which no density may exceed: at most 1."""
        x = np.stack([np.arange(400) % 2, np.arange(400)], 1)
        model = db.fit(x, steps=20, seed=0)
        assert model.config.preprocessing.levels is None
        assert model.config.preprocessing.whole == (0, 1)
        assert (model.log_likelihood(x[:50]).nats < 0).all()


def people() -> pd.DataFrame:
    r = np.random.default_rng(0)
    numbers = {"height": r.normal(170, 10, 60), "weight": r.normal(70, 9, 60), "kids": r.integers(0, 4, 60)}
    return pd.DataFrame(numbers | {"colour": np.where(r.random(60) < 0.5, "red", "blue")})


def test_a_data_frame_is_taken_by_its_names() -> None:
    frame = people()
    model = db.fit(frame, "colour", steps=20)
    frame = frame.head(12)
    found = model.score_samples(frame)
    numbers = frame[["height", "weight", "kids"]].to_numpy()
    assert np.array_equal(found, model.score_samples(numbers, frame["colour"].to_numpy()))
    mixed = frame[["kids", "colour", "weight", "height"]].assign(note="x")
    assert np.array_equal(found, model.score_samples(mixed))
    assert np.array_equal(model.score_samples(frame.drop(columns="colour")), model.score_samples(numbers))
    # Planted fault: by position the columns would mean something else.
    assert np.all(model.score_samples(numbers[:, ::-1].round()) < found - 100)
    with pytest.raises(db.BadInput, match="lacks the column 'kids'"):
        model.score_samples(frame.drop(columns="kids"))
    with pytest.raises(db.BadInput, match="1 of the 12 rows have missing values"):
        model.score_samples(frame.assign(kids=frame["kids"].astype(float).where(frame.index > 0)))


@pytest.mark.parametrize("method", sorted(name for name in METHODS if name != "spikes" and not METHODS[name].remembers))
def test_every_method_fits_draws_and_scores(method: str) -> None:
    model = db.fit("two-gaussians", n=300, steps=60, method=method, seed=0)
    x = model.sample(500, seed=0, steps=10)
    assert np.isfinite(x).all()
    assert np.abs(x.mean(0)).max() < 2.0
    assert np.isfinite(model.score_samples(x[:5])).all()


def test_where_noise_is_left_at_the_end_it_is_taken_away() -> None:
    model = db.fit("two-gaussians", n=300, steps=30, method="score-sde-ve", seed=0)
    frames = list(model.frames(50, seed=0, steps=5))
    assert [f.t for f in frames[-2:]] == [0.0, 0.0]
    assert frames[-1].evaluations == 11
    assert torch.equal(frames[-1].x, model.denoiser.denoised(frames[-2].x, 0.0))
    plain = db.fit("two-gaussians", n=300, steps=30, seed=0)
    assert list(plain.frames(50, seed=0, steps=5))[-1].evaluations == 9


def test_one_class_is_no_condition() -> None:
    data = load_data("digits")
    ones = data.x[data.y == 1][:60]
    model = db.fit(ones, np.ones(60, int), steps=3, batch=16)
    assert model.classes == ()
    assert np.isfinite(model.log_likelihood(ones[:3]).mean)


def test_data_that_was_trained_on_is_left_out_of_the_judgement() -> None:
    model = db.fit("two-moons", n=300, steps=20, seed=0)
    own = original(model.config)
    both = load_data("two-moons", n=300)
    found = real_items(model.config, both)
    assert found.left_out == len(own.train) == 240
    assert found.held is not None
    assert len(found.held) == 60
    # Planted fault: the training items themselves in place of fresh ones are not taken.
    with pytest.raises(db.BadInput, match=r"only 0 of the 240 items .* leave DATA out"):
        real_items(model.config, own.train)
    with pytest.raises(db.BadInput, match="3 items, too few to judge by; give at least 20"):
        real_items(model.config, load_data(np.full((3, 2), 1600.0)))


def test_what_is_not_known_is_not_judged() -> None:
    x = load_data("two-moons", n=300).x
    model = db.fit(x, steps=2, batch=64)
    again = real_items(model.config, load_data(x))
    assert (len(again.train), len(again.held)) == (240, 60)  # the very data that was in memory then
    other = real_items(model.config, load_data(x + 1))
    assert not other.known
    verdicts = {m.name.split(" (")[0]: m.verdict for m in evaluate(model, other, n=40).metrics}
    assert verdicts["copies of training items"] == UNKNOWN
    assert verdicts["closeness to training items"] == UNKNOWN


def test_best_checkpoint_and_history(run: Path) -> None:
    job = prepare("two-moons", out=run, n=300, steps=24, network=NetworkSpec(kind="mlp", widths=(16,), depth=1))
    for now in job.run():
        assert now.step == now.steps or "ended" not in now.verdict
    model, summary = job.finish()
    assert len(job.state.history) == 12
    assert all(Measurement.from_json(m).held_out is not None for m in job.state.history)
    assert summary.samples_seen == 24 * 512
    assert summary.bits_per_dim is None
    assert np.array_equal(db.load(run).sample(3), model.sample(3))
    assert db.load(run, checkpoint="best").sample(3).shape == (3, 2)
    assert len(list((run / "previews").glob("*.png"))) == 6
    assert not list(run.rglob("*.pkl"))
