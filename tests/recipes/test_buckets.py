"""Pictures in buckets from a folder to a judgement: the network is told which one, in training, drawing and scoring."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import driftback as db
from driftback.data import load as load_data
from driftback.data import pictures, rows
from driftback.data.buckets import Buckets, middle
from driftback.networks.presets import NetworkSpec
from driftback.randomness import Rng
from driftback.recipes import buckets, evaluate, solver, way_back
from driftback.recipes import job as jobs
from driftback.recipes import seen as seen_of
from driftback.recipes.assembly import training_times
from driftback.recipes.conditions import Wanted
from driftback.recipes.diagnose import diagnose
from driftback.recipes.latents import Latents
from driftback.recipes.model import Model
from driftback.recipes.posterior import fill
from driftback.recipes.prepare import prepare
from driftback.recipes.way_back import Asked
from driftback.training.batch import batch_of
from driftback.training.levels import level_losses

SHAPES = ((12, 20), (16, 16), (20, 12))
TINY = NetworkSpec(kind="unet", widths=(8,), depth=1, conditioning=16)
READING = {"size": 16, "aspect": "bucket"}
OPTIONS = {"network": TINY, "batch": 8, "device": "cpu", **READING}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 pictures of each of three shapes, their class, on the levels 85, 170 and 255: none is black inside."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, shape in zip(("broad", "square", "tall"), SHAPES, strict=True):
        (folder / name).mkdir()
        for k in range(18):
            pixels = 85 * rng.integers(1, 4, shape).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k:02d}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "photos"
    db.fit(photos, out=folder, steps=4, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return db.load(run, device="cpu")


def outside(shape: tuple[int, int]) -> np.ndarray:
    out = np.ones((20, 20), bool)
    out[middle((20, 20), shape)] = False
    return out


def test_a_model_keeps_its_buckets_with_the_counts_of_each_class(model: Model) -> None:
    config = model.config
    assert config.preprocessing.buckets == Buckets(shapes=SHAPES)
    assert config.preprocessing.internal_event == (1, 20, 20)
    assert config.class_counts == tuple(sum(row) for row in config.bucket_counts)
    assert np.count_nonzero(config.bucket_counts) == 3
    assert buckets.by_name(config) == dict(zip(("12x20", "16x16", "20x12"), config.class_counts, strict=True))


def test_what_is_drawn_is_painted_outside_of_its_bucket(model: Model) -> None:
    x, shapes = model.sample(12, steps=2, seed=3), model.shapes(12, seed=3)
    labels = model.labels(12, seed=3)
    assert shapes is not None
    assert labels is not None
    # Each class has one shape here, so that it is drawn in that.
    assert [SHAPES[k] for k in labels] == [tuple(shape) for shape in shapes]
    assert len({tuple(shape) for shape in shapes}) == 3
    for one, shape in zip(x, shapes, strict=True):
        assert not one[outside(tuple(shape))].any()
        assert one[middle((20, 20), tuple(shape))].any()
    np.testing.assert_array_equal(x[:5], model.sample(5, steps=2, seed=3))


def test_a_shape_can_be_asked_for(model: Model) -> None:
    x = model.sample(3, shape=(20, 12), label="broad", steps=2)
    assert not x[:, outside((20, 12))].any()
    each = model.draw(2, Asked(steps=2), wanted=Wanted(shape=[(12, 20), (16, 16)])).x
    assert not each[0][outside((12, 20))].any()
    assert not each[1][outside((16, 16))].any()
    known = ", ".join(f"{name} ({count})" for name, count in buckets.by_name(model.config).items())
    with pytest.raises(db.BadInput, match=r"there is no bucket 20x20; known, with training pictures: 12x20 \(") as said:
        model.sample(3, shape=(20, 20))
    assert known in str(said.value)
    for odd in ((20, 12, 1), [(20, 12)] * 2, "20x12", (20.0, 12.0)):
        with pytest.raises(db.BadInput, match=r"a shape is \(height, width\), or one for each of 3 items"):
            model.sample(3, shape=odd)
    with pytest.raises(db.BadInput, match="all that this model draws has one shape"):
        db.fit(np.random.default_rng(0).random((40, 8, 8)), steps=1, batch=4, network=TINY).sample(1, shape=(8, 8))


def test_buckets_are_drawn_with_their_shares_in_the_class() -> None:
    config = SimpleNamespace(
        preprocessing=SimpleNamespace(buckets=Buckets(shapes=SHAPES)), bucket_counts=((10, 0, 30), (0, 5, 0), (0, 0, 0))
    )
    n = 4000
    first = buckets.drawn(config, n, None, 0, np.zeros(n, np.int64))
    # 3 in 4 with a standard error of 0.007: four of them are left once in 16,000 seeds.
    assert set(first.tolist()) == {0, 2}
    assert abs(float((first == 2).mean()) - 0.75) < 0.028
    assert (buckets.drawn(config, n, None, 0, np.ones(n, np.int64)) == 1).all()
    # A class that has lost all its items to the held-out ones has the shares of all.
    assert set(buckets.drawn(config, n, None, 0, np.full(n, 2)).tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(first[:10], buckets.drawn(config, 10, None, 0, np.zeros(10, np.int64)))


@pytest.mark.parametrize("augment", [None, "flip", "flip,shift"])
def test_a_batch_is_told_what_was_done_and_its_buckets(photos: Path, augment: str | None) -> None:
    job = prepare(photos, steps=1, augment=augment, **OPTIONS)
    law, denoiser = training_times(job.config), job.state.denoiser
    batch = batch_of(denoiser, job.state.drawing, job.items, law, job.config.plan, 0, None, "cpu")
    assert job.items.done is not None
    assert batch.told is not None
    assert batch.told.shape == (8, buckets.numbers(job.config))
    assert torch.equal(batch.told[:, -3:], job.items.done[batch.index])
    if augment == "flip":
        assert set(batch.told[:, 0].tolist()) == {0.0, 1.0}
    if augment != "flip,shift":
        # A mirrored picture stands in its bucket too: what is outside is black, -1.
        for x, told in zip(batch.x, batch.told, strict=True):
            assert (x[0][torch.from_numpy(outside(SHAPES[int(told[-3:].argmax())]))] == -1).all()
    # When nothing was done to an item, the network is told its bucket alone.
    told = buckets.told(job.config, np.array([2, 0]))
    assert told is not None
    assert told.tolist() == [[0.0] * (told.shape[1] - 3) + one for one in ([0, 0, 1], [1, 0, 0])]


def test_the_network_heeds_its_bucket_when_it_draws(model: Model) -> None:
    first, second = (
        [frame.x for frame in model.frames(1, steps=2, shape=shape, label="broad")][-1] for shape in SHAPES[:2]
    )
    assert not torch.equal(first, second)
    way = model.frames(2, steps=2, shape=[SHAPES[0], SHAPES[1], SHAPES[2]], label="broad", first=1)
    assert way.bucket is not None
    assert [model.config.preprocessing.buckets.shapes[k] for k in way.bucket] == [*SHAPES[1:]]
    *_, last = way
    assert (way.pictures(last)[1][outside(SHAPES[2])] == 255).all()
    # So are a fitted solver's, a guided one, and one that is pushed away from the early snapshot.
    for asked in (Asked(evaluations=4), Asked(steps=2, guidance=1.0), Asked(steps=2, autoguidance=0.5)):
        one, two = (model.draw(1, asked, wanted=Wanted("broad", shape=shape)).x for shape in SHAPES[::2])
        assert not one[0][outside(SHAPES[0])].any()
        assert not two[0][outside(SHAPES[2])].any()


@pytest.mark.slow
def test_the_network_learns_which_part_its_bucket_is(photos: Path) -> None:
    """As it draws it, before anything is painted: the inside has no black at all in training, the outside no other."""
    spec = NetworkSpec(kind="unet", widths=(16,), depth=1, conditioning=32)
    model = db.fit(photos, steps=150, **OPTIONS | {"network": spec, "batch": 16, "augment": "flip"})
    for shape, label in zip(SHAPES, model.classes, strict=True):
        *_, last = model.frames(16, shape=shape, label=label, steps=12)
        black = model.config.preprocessing.decode(last.x) == 0
        assert black[:, outside(shape)].mean() > 0.95  # at least 0.99 measured, without classes
        assert black[:, ~outside(shape)].mean() < 0.05  # at most 0.015


def test_a_solver_is_fitted_to_ways_in_buckets(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, usual = [], solver.fitter
    monkeypatch.setattr(solver, "fitter", lambda *what, **how: seen.append(what[0]) or usual(*what, **how))
    ways = replace(model, folder=None).ways
    ways._solver(Asked())
    drawn = model.given(way_back.WAYS[1], seed=0).bucket
    assert torch.equal(seen[0].augmented, buckets.told(model.config, drawn))


def test_a_measured_loss_heeds_the_bucket(photos: Path) -> None:
    job = prepare(photos, steps=1, **OPTIONS)
    denoiser, law, x = job.state.denoiser, training_times(job.config), job.items.at(torch.arange(8))
    for name, weight in denoiser.network.named_parameters():  # a new network heeds nothing: its last weights are 0
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
    losses = [
        level_losses(denoiser, x, None, law, rng=Rng(0), told=buckets.told(job.config, np.full(8, k))).loss
        for k in (0, 1, 1)
    ]
    assert losses[0] != losses[1] == losses[2]


def test_pictures_on_the_disk_are_the_same_model(photos: Path, run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pictures, "IN_MEMORY", -1)
    monkeypatch.setattr(rows, "SMALL", 0)
    model, here = db.fit(photos, out=tmp_path / "run", steps=4, **OPTIONS), db.load(run, device="cpu")
    assert isinstance(load_data(photos, **READING).x, rows.Rows)
    # The deviation is summed block by block, and differs by rounding.
    assert model.config.spread == pytest.approx(here.config.spread, rel=1e-12)
    assert model.config.model_copy(update={"spread": here.config.spread}) == here.config
    one, two = (each.denoiser.network.state_dict() for each in (model, here))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    found, again = (evaluate.evaluate(each, n=20, features="none") for each in (model, here))
    np.testing.assert_array_equal(found.bucket, again.bucket)
    assert [m.name for m in found.metrics] == [m.name for m in again.metrics]


def test_a_fit_says_what_its_canvas_is(photos: Path) -> None:
    job = prepare(photos, steps=1, **OPTIONS)
    listed = ", ".join(f"{name} ({count})" for name, count in buckets.by_name(job.config).items())
    assert f"buckets, with training pictures: {listed}, on a canvas of 20 x 20" in job.said


def test_both_networks_are_told(model: Model) -> None:
    done = buckets.told(model.config, np.array([1]))
    ways = model.ways.told(done)
    assert ways.early is not None
    assert ways.early.augmented is ways.denoiser.augmented is done
    assert ways.made is model.ways.made
    assert model.ways.told(None) is model.ways


def test_measurements_tell_the_buckets(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, usual = [], jobs.level_losses

    def spied(*args, **options):
        told.append((args[1], options["told"]))
        return usual(*args, **options)

    monkeypatch.setattr(jobs, "level_losses", spied)
    job = prepare(photos, steps=1, augment="flip", **OPTIONS)
    for _ in job.run():
        pass
    assert len(told) == 2
    assert told[0][1][:, 1:].argmax(1).tolist() == job.held.bucket.tolist()
    for x, done in told:
        assert not done[:, 0].any()
        for one, k in zip(x, done[:, 1:].argmax(1).tolist(), strict=True):
            assert (one[0][torch.from_numpy(outside(SHAPES[k]))] == -1).all()


def test_a_likelihood_is_that_of_the_canvas_given_the_bucket(model: Model, photos: Path) -> None:
    items = load_data(photos, **READING).take(np.array([0, 20, 40]))
    options = {"draws": 2, "y": ["broad", "square", "tall"]}
    found = model.log_likelihood(items.x, shape=items.shapes, **options)
    assert found.method.endswith("of the whole canvas given its bucket")
    assert torch.equal(found.nats, model.log_likelihood(items.x, **options).nats)
    assert torch.equal(found.nats, model.log_likelihood(items, draws=2).nats)
    other = model.log_likelihood(items.x, shape=[SHAPES[k] for k in (1, 1, 1)], **options)
    assert torch.isclose(other.nats[1], found.nats[1])
    assert not torch.isclose(other.nats[[0, 2]], found.nats[[0, 2]]).any()
    full = items.x.copy()
    full[1] = 255
    with pytest.raises(db.BadInput, match="item 1 is in no bucket"):
        model.log_likelihood(full, draws=2)


def test_latents_are_those_given_the_bucket(model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, told = load_data(photos, **READING).take(np.array([0, 20, 40])), []
    x, forward = items.x, type(model.denoiser.network).forward

    def spied(self, *args, augmented=None, **options):
        told.append(augmented)
        return forward(self, *args, augmented=augmented, **options)

    monkeypatch.setattr(type(model.denoiser.network), "forward", spied)
    ways = Latents(model, tolerance=0.03)
    latents = ways.encode(x)
    ways.encode(items)
    back = ways.decode(latents, shape=items.shapes)
    ways.error(x, shape=items.shapes)
    wanted = buckets.told(model.config, items.bucket)
    assert len(told) > 8
    assert all(torch.equal(one, wanted) for one in told)
    for one, shape in zip(back, SHAPES, strict=True):
        assert not one[outside(shape)].any(), "the ground is one value, as of samples"
    told.clear()
    way = ways.between(x[0], x[0], 3)
    assert not way[:, outside(SHAPES[0])].any()
    assert all(torch.equal(one, wanted[:1].expand(len(one), -1)) for one in told)
    with pytest.raises(db.BadInput, match="does not tell its bucket; give shape, of 12x20, 16x16, 20x12"):
        ways.decode(latents)
    with pytest.raises(db.BadInput, match="one item is 12x20 and the other 16x16"):
        ways.between(x[0], x[1], 3)


@pytest.mark.parametrize("method", ["mmps", "smc"])
def test_what_is_filled_in_is_painted_outside_of_its_bucket(model: Model, photos: Path, method: str) -> None:
    item, hide = load_data(photos, **READING).x[0], np.zeros((20, 20), bool)
    hide[:, 10:] = True
    known = seen_of.hidden(model.config, item, hide)
    how = {"particles": 8} if method == "smc" else {}
    each = fill(model, known, 4, method=method, steps=2, wanted=Wanted(shape=[SHAPES[0], SHAPES[2]] * 2), **how).x
    for one, shape in zip(each, [SHAPES[0], SHAPES[2]] * 2, strict=True):
        assert not one[outside(shape)].any()
    alike = fill(model, known, 2, method=method, steps=2, wanted=Wanted(shape=SHAPES[0]), **how).x
    assert not alike[:, outside(SHAPES[0])].any()


def test_samples_are_judged_in_the_shapes_of_the_held_out_items(model: Model) -> None:
    found = evaluate.evaluate(model, n=40, features="none")
    held = found.real.held
    assert held is not None
    assert found.bucket is not None
    assert found.labels is not None
    # Shapes and classes are those of one held-out item each: here they are the same number.
    np.testing.assert_array_equal(found.bucket, found.labels)
    shares = np.bincount(held.bucket, minlength=3) / len(held)
    assert np.abs(np.bincount(found.bucket, minlength=3) / 40 - shares).max() < 4 * np.sqrt(0.25 / 40)
    assert found.drawn_on == "the samples were drawn on the classes and shapes of the held-out items"
    for one, k in zip(found.samples, found.bucket, strict=True):
        assert not one[outside(SHAPES[k])].any()
    unknown = replace(found.real, held=replace(held, buckets=None, bucket=None))
    assert evaluate.evaluate(model, unknown, n=20, features="none").drawn_on is None


def test_what_samples_are_drawn_on_is_told_where_captions_are_none(photos: Path) -> None:
    """Shapes are matched all the same, and that is said."""
    items = load_data(photos, **READING)
    model = db.fit(photos, steps=1, captions=["one picture", "another"] * 27, **OPTIONS)
    for real, whose in ((None, "real"), (items, "held-out")):
        found = evaluate.evaluate(model, evaluate.RealItems(items, real), n=20, features="none")
        assert found.drawn_on == (
            "the samples were drawn on the captions of the training items, for the others have none, and on the shapes "
            f"of the {whose} items"
        )
        assert len(np.unique(found.bucket)) == 3


def test_other_pictures_go_to_the_buckets_of_the_model(model: Model, tmp_path: Path) -> None:
    """However few they are, and whatever shapes they have."""
    rng = np.random.default_rng(1)
    for k in range(24):
        pixels = 85 * rng.integers(1, 4, (10, 30) if k % 2 else (30, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k:02d}.png")
    other = evaluate.like(model.config, str(tmp_path))
    assert other.buckets == model.config.preprocessing.buckets
    assert other.bucket.tolist() == [2, 0] * 12


def test_a_resumed_training_ends_with_the_same_weights(photos: Path, run: Path, tmp_path: Path) -> None:
    job = prepare(photos, out=tmp_path / "run", steps=4, **OPTIONS)
    for _ in job.run(stop=lambda: job.state.step == 2):
        pass
    again = prepare(photos, out=tmp_path / "run", resume=True, device="cpu")
    assert again.state.step == 2
    assert again.config == job.config
    for _ in again.run():
        pass
    resumed, straight = again.finish()[0].denoiser.network, db.load(run, device="cpu").denoiser.network
    assert all(map(torch.equal, resumed.state_dict().values(), straight.state_dict().values()))
    shutil.copytree(photos, tmp_path / "other")
    (tmp_path / "other" / "tall" / "00.png").unlink()
    with pytest.raises(db.BadInput, match="fitted on other data"):
        prepare(tmp_path / "other", out=tmp_path / "run", resume=True, device="cpu")


def test_the_fingerprint_tells_buckets_apart(photos: Path) -> None:
    items = prepare(photos, steps=1, **OPTIONS).items
    mark, done = items.fingerprint(), items.done
    assert done is not None
    assert type(items)(items.n, items.event, items.at, items.label, items.held, done.flip(1)).fingerprint() != mark
    assert type(items)(items.n, items.event, items.at, items.label, items.held).fingerprint() != mark


def test_older_models_have_none_and_a_damaged_count_is_seen(run: Path, tmp_path: Path) -> None:
    plain = db.fit(np.random.default_rng(0).random((40, 8, 8)), out=tmp_path / "old", steps=1, batch=4, network=TINY)
    path = tmp_path / "old" / "config.json"
    record = json.loads(path.read_text())
    assert record["preprocessing"].pop("buckets") is None
    assert record.pop("bucket_counts") == []
    path.write_text(json.dumps(record))
    old = db.load(tmp_path / "old")
    assert (old.config, old.shapes(3)) == (plain.config, None)
    damaged = json.loads((run / "config.json").read_text())
    damaged["bucket_counts"][0].append(1)
    path.write_text(json.dumps(damaged))
    with pytest.raises(db.DamagedModel, match="bucket_counts do not fit the buckets"):
        db.load(tmp_path / "old")


def test_a_mixture_is_corrected_on_the_canvas(photos: Path, tmp_path: Path) -> None:
    model = db.fit(photos, out=tmp_path / "run", steps=2, method="corrected", augment="flip", **OPTIONS)
    assert model.config.closed_form is not None
    x = model.sample(3, shape=(12, 20), steps=2)
    assert not x[:, outside((12, 20))].any()
    again = db.load(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(again.sample(3, shape=(12, 20), steps=2), x)


def test_pictures_without_classes_have_shares_of_all(photos: Path, tmp_path: Path) -> None:
    for k, path in enumerate(sorted(photos.rglob("*.png"))):
        (tmp_path / f"{k:02d}.png").write_bytes(path.read_bytes())
    model = db.fit(tmp_path, steps=1, held_out=0.5, **OPTIONS)
    assert model.config.bucket_counts == (tuple(buckets.by_name(model.config).values()),)
    assert sum(model.config.bucket_counts[0]) == 27
    assert len(np.unique(model.shapes(50), axis=0)) == 3
    found = evaluate.evaluate(model, evaluate.RealItems(*_halves(tmp_path)), n=20, features="none")
    assert found.drawn_on == "the samples were drawn on the shapes of the held-out items"


def _halves(folder: Path):
    items = load_data(folder, **READING)
    return items.take(np.arange(0, 54, 2)), items.take(np.arange(1, 54, 2))


def test_a_diagnosis_tells_the_buckets(model: Model) -> None:
    real = evaluate.original(model.config)
    assert diagnose(model, real, n=80, steps=2).checks
