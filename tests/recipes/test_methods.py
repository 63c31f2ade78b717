"""Recipes from end to end: what is asked for is recorded and done, and what cannot be is told in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import driftback as db
from driftback.processes.diffusion import Diffusion
from driftback.recipes import config as configs
from driftback.recipes.assembly import cells, training_times
from driftback.recipes.describe import describe
from driftback.recipes.job import Job
from driftback.recipes.methods import METHODS
from driftback.recipes.prepare import prepare
from driftback.scores.learned_variance import LearnedVariance
from driftback.training import snapshots as kept

FEW: dict[str, Any] = {"n": 200, "steps": 12, "batch": 64}


def pictures(n: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (n, 4, 4, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all that is tested here."""
    monkeypatch.setattr(Job, "_preview", lambda self, step: None)


@pytest.fixture(scope="module")
def learned() -> db.Model:
    return db.fit("two-gaussians", n=400, steps=100, batch=128, method="iddpm", seed=0)


def test_iddpm_draws_by_its_own_sampler_and_by_every_other(learned: db.Model) -> None:
    assert isinstance(learned.denoiser.parametrisation, LearnedVariance)
    for options in (
        {"sampler": "iddpm", "steps": 30},
        {"sampler": "ddpm", "steps": 30},
        {"steps": 8},
        {"evaluations": 6},
    ):
        x = learned.sample(300, seed=0, **options)
        assert np.isfinite(x).all()
        assert np.abs(x.mean(0)).max() < 1.5, options
    own = list(learned.frames(3, seed=0, sampler="iddpm", steps=4))
    # Its steps are equal in t, as respaced steps of the paper's chain are, unless another grid is asked for.
    assert np.allclose(np.diff([frame.t for frame in own]), own[1].t - own[0].t)
    other = list(learned.frames(3, seed=0, sampler="iddpm", steps=4, grid="karras"))
    assert not np.allclose(np.diff([frame.t for frame in other]), other[1].t - other[0].t)


def test_models_without_variances_are_told() -> None:
    model = db.fit("two-gaussians", method="ddpm", **FEW)
    with pytest.raises(db.BadInput, match="learned no variances"):
        model.sample(3, sampler="iddpm")
    with pytest.raises(db.BadInput, match=r"no sampler 'idpm'; choose one of .*, iddpm"):
        model.sample(3, sampler="idpm")


def test_what_is_asked_for_is_in_the_config(tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = prepare("two-moons", out=out, method="vdm", weighting="min-snr", snapshots=True, **FEW)
    for _ in job.run():
        pass
    job.finish()
    plan = configs.read(out).plan
    assert (plan.times, plan.weighting, plan.snapshots) == ("importance", "min-snr", 16)
    assert prepare("two-moons", method="vdm", times="stratified", **FEW).config.plan.times == "stratified"
    assert (
        prepare("two-moons", **FEW).config.plan.model_dump().items()
        >= {
            "times": "stratified",
            "weighting": "simple",
            "snapshots": 0,
        }.items()
    )
    for wrong in ({"weighting": "simple"}, {"times": "stratified"}, {"snapshots": False}):
        with pytest.raises(db.BadInput, match=f"planned with {next(iter(wrong))}"):
            prepare("two-moons", out=out, resume=True, n=200, **wrong)


def test_snapshots_need_a_folder_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(db.BadInput, match="kept in a model's folder; give out"):
        prepare("two-moons", snapshots=True, **FEW)
    assert prepare(pictures(), method="edm", steps=2, batch=8).config.plan.snapshots == 0
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    job = prepare("two-moons", out=tmp_path / "run", snapshots=True, **FEW)
    assert job.config.plan.snapshots == 0
    assert any("no snapshots are kept" in line for line in job.said)


def test_names_that_a_damaged_config_asks_for_are_told(tmp_path: Path) -> None:
    prepare("two-moons", out=tmp_path / "run", **FEW)
    path = tmp_path / "run" / "config.json"
    whole = path.read_text()
    for good, bad in (('"weighting": "simple"', '"weighting": "snr"'), ('"times": "stratified"', '"times": "even"')):
        assert good in whole
        path.write_text(whole.replace(good, bad))
        with pytest.raises(db.DamagedModel, match="weighting, times or optimiser that this driftback does not know"):
            configs.read(tmp_path / "run")


def test_pictures_keep_snapshots_and_give_any_average(tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = prepare(pictures(), out=out, method="edm", steps=20, batch=8)
    for _ in job.run():
        pass
    model, _ = job.finish()
    assert len(list((out / "training" / "snapshots").iterdir())) == 16
    drawn = [db.load(out, ema=length).sample(2, seed=0, steps=3) for length in (None, 0.05, 0.2)]
    assert np.array_equal(drawn[0], model.sample(2, seed=0, steps=3))
    assert not np.array_equal(drawn[1], drawn[2])
    for wrong, said in (({"ema": 0.5}, "give 0.02 to 0.25"), ({"ema": "long"}, "ema must be a number")):
        with pytest.raises(db.BadInput, match=said):
            db.load(out, **wrong)
    with pytest.raises(db.BadInput, match="leave ema or checkpoint out"):
        db.load(out, ema=0.1, checkpoint="best")
    none = tmp_path / "none"
    db.fit(pictures(), out=none, method="edm", steps=2, batch=8, snapshots=False)
    assert not (none / "training" / "snapshots").exists()
    with pytest.raises(db.BadInput, match="no snapshots"):
        db.load(none, ema=0.1)


@pytest.mark.parametrize("weighting", ["min-snr", "likelihood"])
def test_data_on_few_levels_refuse_a_weighting(weighting: str) -> None:
    with pytest.raises(db.BadInput, match=f"'{weighting}' counts squared errors of x_0"):
        db.fit("digits", n=100, steps=2, batch=16, weighting=weighting)
    db.fit("digits", n=100, steps=2, batch=16, weighting=weighting, method="flow")


LEARNED = {name for name, method in METHODS.items() if not method.remembers}


@pytest.mark.parametrize("method", sorted(LEARNED - {"levels", "spikes"}))
def test_every_method_bears_every_weighting_and_drawing(method: str) -> None:
    for weighting, times in (("min-snr", "importance"), ("likelihood", "independent")):
        job = prepare("two-moons", method=method, weighting=weighting, times=times, n=200, steps=15, batch=64)
        steps = list(job.run())
        assert all(np.isfinite(step.loss) for step in steps)
        assert np.isfinite(job.finish()[0].sample(4, steps=3)).all()


def test_names_that_there_are_not() -> None:
    for wrong in ({"weighting": "snr"}, {"times": "even"}, {"method": "vdn"}):
        with pytest.raises(db.BadInput, match="choose one of"):
            db.fit("two-moons", steps=2, **wrong)


def test_vdm_bounds_the_probability_of_levels() -> None:
    """Pictures of 8 levels, all alike but for noise of one level up or down, which is worth log2(3) bits.

    A network that says 0 costs (13.3 + 5) / 2 nats, 13.2 bits, and a little training takes a good part of that away.
    """
    rng = np.random.default_rng(0)
    x = 4 + rng.integers(-1, 2, (400, 4, 4))
    x[0, 0, :2] = 0, 7  # all eight levels are there
    job = prepare(x, method="vdm", steps=60, batch=64, learning_rate=5e-3, network="tiny")
    for _ in job.run():
        pass
    model, summary = job.finish()
    found = model.log_likelihood(x[:100])
    assert found.method == "variational bound, 32 draws"
    assert found.evaluations == 32
    bits = model.bits_per_dim(found.mean)
    assert np.log2(3) < bits < 10
    assert summary.bits_per_dim == pytest.approx(bits, rel=0.1)
    assert set(np.unique(model.sample(8, steps=4))) <= set(range(8))
    points = db.fit("two-gaussians", method="vdm", **FEW)
    assert "ODE" in points.log_likelihood(points.sample(3, steps=3)).method


@pytest.fixture(scope="module")
def half_black() -> np.ndarray:
    """600 pictures of 6 x 6, a half of them black, the rest of one grey level each, give or take two: 1 bit, and
    log2(5) bits for each grey pixel, and little more.
    """
    rng = np.random.default_rng(0)
    grey = rng.integers(20, 230, 600)[:, None, None] + rng.integers(-2, 3, (600, 6, 6))
    return np.where(rng.uniform(size=(600, 6, 6)) < 0.5, 0, grey).astype(np.uint8)


def test_spikes_bound_the_probability_of_levels(half_black: np.ndarray, tmp_path: Path) -> None:
    few: dict[str, Any] = {"network": "tiny", "steps": 100, "batch": 32}
    job = prepare(half_black, method="spikes", out=tmp_path, learning_rate=5e-3, **few)
    assert job.config.closed_form is not None
    assert job.config.closed_form.role == "shown"
    losses = [step.loss for step in job.run()]
    model, summary = job.finish()
    found = model.log_likelihood(half_black[:64])
    assert (found.method, found.evaluations) == ("variational bound, 32 draws", 36)
    bits = model.bits_per_dim(found.mean)
    least = 1 + np.log2(5) / 2  # 2.16; without the black and the grey's evenness it is log2(256) = 8
    assert least < bits < 4.6  # 4.18 measured
    assert summary.bits_per_dim == pytest.approx(bits, rel=0.1)
    assert np.mean(losses[-30:]) / np.log(2) == pytest.approx(bits, rel=0.1), "the loss is the bound"
    again = db.load(tmp_path)
    assert torch.equal(again.log_likelihood(half_black[:5]).nats, model.log_likelihood(half_black[:5]).nats)
    drawn = model.sample(64, steps=10, seed=0)
    assert drawn.dtype == half_black.dtype
    assert 0.3 < (drawn == 0).mean() < 0.7, "half of the pixels are black, exactly"


def test_spikes_of_classes_and_of_rows(half_black: np.ndarray) -> None:
    few = {"steps": 12, "batch": 64, "network": "tiny"}
    model = db.fit(half_black, np.arange(600) % 2, method="spikes", **few)
    assert np.isfinite(model.log_likelihood(half_black[:3], np.array([0, 1, 0])).mean)
    rows = half_black[:, 0]
    model = db.fit(rows, method="spikes", steps=12, batch=64)
    assert np.isfinite(model.log_likelihood(rows[:3]).mean)
    assert model.sample(5, steps=3).shape == (5, 6)


@pytest.mark.parametrize(("low", "high"), [(200, 240), (5, 60), (150, 220)])
def test_spikes_of_light_and_of_dark_pictures(low: int, high: int) -> None:
    x = np.random.default_rng(0).integers(low, high, (300, 6, 6)).astype(np.uint8)
    model = db.fit(x, method="spikes", steps=40, batch=32, network="tiny")
    bits = model.bits_per_dim(model.log_likelihood(x[:50]).mean)
    assert np.log2(high - low) < bits < np.log2(high - low) + 1.5


def test_spikes_of_colours_captions_and_numbers() -> None:
    x = pictures(80)
    few: dict[str, Any] = {"method": "spikes", "steps": 4, "batch": 16}
    for told in ({}, {"captions": [f"a {'red' if k % 2 else 'blue'} thing of {k % 30}" for k in range(80)]}):
        model = db.fit(x, augment=("flip", "shift"), times="stratified", **told, **few)
        assert model.sample(3, steps=2).shape == (3, 4, 4, 3)
    model = db.fit(x, numbers=np.linspace(0, 1, 80), **few)
    assert np.isfinite(model.log_likelihood(x[:3], np.array([0.1, 0.2, 0.3])).mean)
    assert prepare(x[:12], **few).config.closed_form is None, "too few for a mixture"
    with pytest.raises(db.BadInput, match="'min-snr' counts squared errors of x_0, and data on levels"):
        db.fit(x, weighting="min-snr", **few)


def test_captions_are_learned_where_there_is_much_noise() -> None:
    """The default method's noise levels for captions lie higher, and reach as low; a paper's are its own."""
    x, said = pictures(80), [f"a {'red' if k % 2 else 'blue'} thing of {k % 30}" for k in range(80)]

    def ratios(method: str, old: bool = False, **told: Any) -> list[float]:
        config = prepare(x, method=method, steps=4, batch=16, **told).config
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"noise": None})}) if old else config
        u = torch.tensor([0.0013499, 0.5], dtype=torch.float64)  # three deviations below, and the middle
        process = Diffusion(METHODS[method].schedule(config.spread), (3, 4, 4), config.spread)
        t = training_times(config).quantile(u, process)
        return (process.ratio(t) / (2 * config.spread)).tolist()

    usual = [np.exp(-1.2 - 3 * 1.2), np.exp(-1.2)]
    assert ratios("corrected") == pytest.approx(usual, rel=1e-3)
    assert ratios("corrected", numbers=np.linspace(0, 1, 80)) == pytest.approx(usual, rel=1e-3)
    assert ratios("edm", captions=said) == pytest.approx(usual, rel=1e-3)
    # A training that was planned before goes on as it was.
    assert ratios("corrected", old=True, captions=said) == pytest.approx(usual, rel=1e-3)
    assert ratios("corrected", captions=said) == pytest.approx([np.exp(-0.2 - 3 * 1.8), np.exp(-0.2)], rel=1e-3)


def test_spikes_go_on_where_they_stopped(tmp_path: Path) -> None:
    x, few = pictures(40), {"method": "spikes", "steps": 6, "batch": 16}
    whole = db.fit(x, out=tmp_path / "whole", **few)
    job = prepare(x, out=tmp_path / "broken", **few)
    for step in job.run():
        if step.step == 3:
            break
    job.save()
    again = db.fit(x, out=tmp_path / "broken", resume=True)
    one, two = (model.denoiser.network.state_dict() for model in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_spikes_see_single_pixels(tmp_path: Path) -> None:
    """Their networks have a resolution more; a resume finds it again."""
    x, small = np.random.default_rng(0).integers(0, 256, (40, 18, 20), np.uint8), {"network": "small", "steps": 3}
    job = prepare(x, method="spikes", out=tmp_path, **small)
    usual = prepare(x, method="corrected", **small)
    assert (job.config.network.widths, job.config.network.patch) == ((16, 32, 64), 1)
    assert (usual.config.network.widths, usual.config.network.patch) == ((32, 64), 2)
    assert describe(tmp_path)["preset"] == "small"
    for network in (None, "small", "unet"):
        assert prepare(x, out=tmp_path, resume=True, network=network).config.network == job.config.network
    with pytest.raises(db.BadInput, match="was planned with a network of kind unet and widths 16-32-64"):
        prepare(x, out=tmp_path, resume=True, network="tiny")


def test_spikes_need_levels() -> None:
    with pytest.raises(db.BadInput, match=r"^method spikes is for values on levels.*use --method edm$"):
        db.fit("two-moons", method="spikes", n=100, steps=2)


def test_vdm_is_trained_on_the_levels_themselves() -> None:
    """As its bound asks for them; other methods see them spread over their cells, for their likelihood is a density."""
    for method, spread in (("vdm", False), ("levels", False), ("spikes", False), ("edm", True)):
        assert (cells(prepare("digits", n=50, method=method, steps=1, batch=8).config) is not None) == spread
