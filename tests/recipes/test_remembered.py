"""Models that remember: made in a moment, drawn from like others, and told from them by what they copy."""

from pathlib import Path

import numpy as np
import pytest
import torch

import driftback as db
from driftback.errors import BadInput
from driftback.evaluation.memorisation import RATIO, left_out, nearest_two
from driftback.networks.memory import Memory
from driftback.recipes.methods import METHODS
from driftback.recipes.prepare import prepare

REMEMBER = [name for name, method in METHODS.items() if method.remembers]


def stripes(n: int = 300) -> np.ndarray:
    """Pictures of 8 x 8: rows and columns, each dark or light by itself."""
    rng = np.random.default_rng(0)
    return (
        60 * rng.integers(0, 2, (n, 8, 1)) + 100 * rng.integers(0, 2, (n, 1, 8)) + rng.integers(0, 30, (n, 8, 8))
    ).astype(np.uint8)


def nearest(x: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The root mean square distance of each of `x` from the nearest item."""
    far = (x.reshape(len(x), 1, -1).astype(float) - data.reshape(1, len(data), -1)) ** 2
    return np.sqrt(far.mean(2).min(1))


def test_there_are_three() -> None:
    assert REMEMBER == ["recorded", "smoothed", "patches"]


def test_the_recorded_score_returns_the_items() -> None:
    data = stripes()
    model = db.fit(data, method="recorded", held_out=0.2, seed=0)
    x = model.sample(20, seed=1)
    assert x.dtype == np.uint8
    assert nearest(x, data).max() < 2


def test_patches_make_new_pictures() -> None:
    data = stripes()
    model = db.fit(data, method="patches", seed=0)
    x = model.sample(20, seed=1)
    assert nearest(x, data).mean() > 8, "what no item is"
    assert abs(x.mean() - data.mean()) < 25
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert int(known.sizes[0]) < 15


def test_a_smoothed_cloud_is_as_wide_as_it_was_chosen() -> None:
    data = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 3.0]
    model = db.fit(data, method="smoothed", seed=0)
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    assert 0 < float(known.width) <= 0.4 * model.config.spread
    x = model.sample(400, seed=1)
    assert np.abs(x.std(0) / data.std(0) - 1).max() < 0.3


def test_of_many_numbers_a_smoothed_cloud_is_no_copy_either() -> None:
    """What reaches the next item is noise in its direction alone."""
    rng, t = np.random.default_rng(0), np.linspace(0, 1, 100)
    low, high = rng.uniform(4, 7, (500, 1)), rng.uniform(0, 3, (500, 1))
    data = np.sin(low * t + high)
    model = db.fit(data, method="smoothed", seed=0)
    _, near, ratio = nearest_two(model.sample(40, seed=1), data)
    assert np.mean(ratio < RATIO) < 0.25
    assert np.median(near) < 2 * np.median(left_out(data)[0]), "and it is like the items"


@pytest.mark.parametrize("method", REMEMBER)
def test_a_model_is_kept_and_read_again(method: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = db.fit(stripes(120), method=method, out=out, seed=0)
    assert (out / "weights.safetensors").is_file()
    assert not (out / "training" / "state.safetensors").exists()
    again = db.load(out)
    assert (again.sample(3, seed=5) == made.sample(3, seed=5)).all()
    assert again.config.network.kind == "none"


def test_classes_are_remembered_apart() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    data = rng.normal(size=(200, 2)) + 20 * y[:, None]
    model = db.fit(data, y, method="recorded", seed=0)
    assert (model.sample(30, label=0, seed=1) < 10).all()
    assert (model.sample(30, label=1, seed=1) > 10).all()


def test_what_a_model_of_many_points_says_is_the_formula_within_a_tolerance() -> None:
    model = db.fit("two-moons", n=20_000, method="recorded", seed=0)
    known = model.denoiser.network.closed_form
    assert isinstance(known, Memory)
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    ratio = torch.full((50,), 0.3)
    quick = known.mean(y, ratio, None)
    far = torch.cdist(y.double(), known.points.double()) ** 2 / (2 * 0.3**2)
    assert torch.allclose(quick.double(), (-far).softmax(1) @ known.points.double(), atol=2e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "recorded", "steps": 5}, "trains nothing; leave --steps out"),
        ({"method": "recorded", "minutes": 5}, "leave --minutes out"),
        ({"method": "smoothed", "network": "tiny"}, "leave --network out"),
        ({"method": "smoothed", "learning_rate": 0.1}, "leave --learning-rate out"),
        ({"method": "recorded", "captions": ["a cat"] * 60 + ["a dog"] * 60}, "classes alone"),
    ],
)
def test_what_belongs_to_a_training_is_refused(options: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        db.fit(stripes(120), **options)


def test_no_training_is_judged(tmp_path: Path) -> None:
    job = prepare(stripes(120), method="smoothed", held_out=0.2, seed=0, out=tmp_path / "run")
    for _ in job.run():
        pass
    said = "nothing was trained: 96 items are remembered; driftback evaluate tells copies of them"
    assert job.finish()[1].verdict == said


def test_what_remembers_has_no_density() -> None:
    model = db.fit("two-moons", n=200, method="recorded")
    with pytest.raises(BadInput, match="no density"):
        model.score_samples(model.sample(3))


def test_points_have_no_patches() -> None:
    with pytest.raises(BadInput, match="for pictures"):
        db.fit("two-moons", n=100, method="patches")
