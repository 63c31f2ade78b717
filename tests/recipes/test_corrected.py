"""Method `corrected`: a mixture in closed form before the first step, kept with the model, the same again."""

from pathlib import Path

import numpy as np
import pytest
import torch

import driftback as db
from driftback.recipes.fit import prepare
from driftback.recipes.methods import default_method
from driftback.recipes.way_back import Asked

PLAIN = {"method": "corrected", "steps": 3, "batch": 16, "seed": 1}


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """400 discs of 9 x 11, bright in class 0 and dark in class 1."""
    rng = np.random.default_rng(0)
    row, column, radius = rng.uniform([3, 3, 2], [6, 8, 4], (400, 3)).T.reshape(3, -1, 1, 1)
    rows, columns = np.mgrid[:9, :11]
    y = rng.integers(0, 2, 400)
    light = np.where(y == 0, 230, 120)[:, None, None]
    shade = np.clip(radius - np.hypot(rows - row, columns - column), 0, 1) * light
    return (shade + rng.uniform(0, 20, shade.shape)).astype(np.uint8), y


def test_it_starts_from_the_mixture_and_comes_back_from_its_folder(pictures, tmp_path: Path) -> None:
    model = db.fit(*pictures, out=tmp_path, **PLAIN)
    known = model.denoiser.network.closed_form
    assert known is not None
    assert model.config.closed_form is not None
    assert model.config.closed_form.rank == 320 // 20
    again = db.load(tmp_path)
    assert np.array_equal(model.sample(4, steps=3), again.sample(4, steps=3))
    # The mixture's own draws are already like the data; those of an untrained network are not.
    drawn, x0 = known.mixture.sample(500, rng=0), model.config.preprocessing.encode(pictures[0])
    assert abs(float(drawn.mean() - x0.mean())) < 0.03  # 0.01 measured
    assert 0.95 < float(drawn.std() / x0.std()) < 1.05


def test_the_same_seed_gives_the_same_mixture(pictures) -> None:
    one, two = (prepare(*pictures, **PLAIN).state.denoiser.network.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    left_out = prepare(*pictures, **PLAIN, held_out=0.5).state.denoiser.network.state_dict()
    assert not torch.equal(one["closed_form.mean"], left_out["closed_form.mean"])


def test_a_class_of_one_item_shares_components(pictures) -> None:
    x = np.concatenate([pictures[0]] * 4)
    y = np.r_[np.zeros(800, int), np.ones(799, int), 2]
    job = prepare(x, y, **PLAIN, held_out=0.0)
    assert job.config.closed_form is not None
    assert job.config.closed_form.shared


def test_a_model_that_is_saved_over_itself_keeps_its_snapshot(pictures, tmp_path: Path) -> None:
    db.fit(*pictures, out=tmp_path, **PLAIN)
    model = db.load(tmp_path)
    model.save(tmp_path, force=True)
    again = db.load(tmp_path)
    assert again.ways.early is not None
    assert np.array_equal(again.sample(2, steps=3), model.sample(2, steps=3))


def test_nothing_is_drawn_from_the_global_stream(pictures) -> None:
    words = [f"disc {k}" for k in pictures[1]]
    before = torch.random.get_rng_state()
    prepare(pictures[0], captions=words, **PLAIN)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_its_samples_are_pushed_unless_something_is_said(pictures, tmp_path: Path) -> None:
    """By half where nothing is said of guidance; not with a guidance, and not where the snapshot is gone."""
    db.fit(*pictures, out=tmp_path, **PLAIN)
    model = db.load(tmp_path)
    plain, pushed = (model.sample(3, steps=3, autoguidance=weight) for weight in (0.0, 0.5))
    assert not np.array_equal(plain, pushed)
    assert np.array_equal(model.sample(3, steps=3), pushed)
    assert np.array_equal(model.config.preprocessing.decode(list(model.frames(3, steps=3))[-1].x), pushed)
    assert model.draw(3, Asked(steps=3)).autoguidance == 0.5
    assert model.draw(3, Asked(steps=3, guidance=0.5)).autoguidance == 0.0
    assert db.fit(*pictures, **(PLAIN | {"method": "edm"})).draw(3, Asked(steps=3)).autoguidance == 0.0
    # 18 steps of Heun's rule have 35 evaluations of each of two networks, and one of each at the end.
    assert model.draw(3, Asked()).evaluations in (70, 72)
    assert model.draw(3, Asked(tolerance=0.5)).error is not None, "a solver is fitted where an error is asked for"
    (tmp_path / "training" / "early.safetensors").unlink()
    assert np.array_equal(db.load(tmp_path).sample(3, steps=3), plain)


@pytest.mark.slow
def test_a_caption_moves_the_mixture_before_the_first_step(pictures, tmp_path: Path) -> None:
    """Before training has moved anything bright discs are bright and dark ones dark; the words change a mean alone.

    Three steps at the usual rate, most of them at much noise, would move the means of both by as much as they differ.
    """
    x, y = pictures
    still = PLAIN | {"learning_rate": 1e-6}
    words = np.array(["a bright disc", "a dark disc"])[y].tolist()
    model = db.fit(x, captions=words, out=tmp_path, **still)
    assert model.config.closed_form is not None
    assert model.config.closed_form.features > 0

    def light(given: db.Model, prompt: str) -> float:
        return float(given.sample(32, prompt=prompt, steps=10).mean())

    bright, dark = (float(x[y == k].mean()) for k in (0, 1))
    assert abs(light(model, "a bright disc") - bright) < 0.25 * (bright - dark)
    assert abs(light(model, "dark") - dark) < 0.4 * (bright - dark)
    assert np.array_equal(model.sample(2, prompt="dark", steps=3), db.load(tmp_path).sample(2, prompt="dark", steps=3))
    # Without it nothing is told of the words.
    plain = db.fit(x, captions=words, **(still | {"method": "edm"}))
    assert abs(light(plain, "a bright disc") - light(plain, "a dark disc")) < 0.25 * (bright - dark)


@pytest.mark.parametrize("saved", [False, True])
def test_a_resume_has_the_mixture(pictures, tmp_path: Path, saved: bool) -> None:
    """Also where a kill came before the first checkpoint."""
    whole = db.fit(*pictures, out=tmp_path / "whole", **PLAIN)
    job = prepare(*pictures, out=tmp_path / "broken", **PLAIN)
    next(iter(job.run()))
    if saved:
        job.save()
    went_on = db.fit(*pictures, out=tmp_path / "broken", resume=True)
    one, two = (model.denoiser.network.state_dict() for model in (whole, went_on))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_is_the_default_for_pictures_that_bear_it(pictures) -> None:
    assert default_method(None, (1, 28, 28), 10_000) == "corrected"
    assert default_method(None, (1, 28, 28), 300) == "edm"
    assert default_method(None, (3, 218, 178), 10_000) == "edm"
    assert default_method(None, (2,), 10_000) == "edm"


def test_too_few_items_for_a_mixture_are_learned_without(pictures) -> None:
    x, y = pictures
    job = prepare(x[:12], y[:12], **PLAIN)
    assert job.config.closed_form is None
    assert job.state.denoiser.network.closed_form is None


def test_words_that_occur_once_are_not_what_the_mixture_knows_items_by(pictures) -> None:
    """The law of what is left are those of new items too: their error is that of the trained ones."""
    x, y = pictures
    letters = np.random.default_rng(0).choice(list("abcdefghij"), (400, 6))
    captions = [f"a {'bright' if y[i] == 0 else 'dark'} round disc {''.join(letters[i])}" for i in range(400)]
    job = prepare(x, captions=captions, **PLAIN)
    network, held = job.state.denoiser.network, job.held
    assert job.config.condition.rare > 250, "the words are tokens"
    known, encode = network.closed_form, job.config.preprocessing.encode
    told = torch.from_numpy(job.config.condition.rows(tuple(held.captions)))
    new = encode(held.x).flatten(1), network.told(told)
    seen, rows = job.items.take(torch.arange(len(job.items)))
    trained = seen.flatten(1), network.told(rows)

    def error(x0: torch.Tensor, told: torch.Tensor, ratio: float) -> float:
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
        found = known._denoised(x0 + ratio * noise, torch.full((len(x0),), ratio), told)
        return float((found - x0).square().mean().sqrt())

    for ratio in (0.1, 0.5):
        assert error(*new, ratio) < 1.35 * error(*trained, ratio)
