"""Latents of a fitted model: there and back, about standard normal, and what lies between two items."""

import numpy as np
import pytest

import driftback as db
from driftback.errors import BadInput
from driftback.recipes.latents import Latents
from driftback.recipes.model import Model


@pytest.fixture(scope="module")
def moons() -> Model:
    return db.fit("two-moons", n=1000, steps=100, batch=256, seed=0)


def test_items_come_back(moons: Model) -> None:
    x = moons.sample(200, seed=1, steps=20)
    latents = Latents(moons).encode(x)
    assert latents.shape == (200, 2)
    assert np.abs(latents.mean(0)).max() < 0.4
    assert np.abs(latents.std(0) - 1).max() < 0.4
    assert np.abs(Latents(moons).decode(latents) - x).max() < 0.02 * x.std()
    errors = Latents(moons).error(x)
    assert errors.shape == (200,)
    assert errors.max() < 0.02
    assert Latents(moons, tolerance=0.03).error(x).mean() > errors.mean()


def test_between_two_items_both_ends_are_met(moons: Model) -> None:
    a, b = moons.sample(2, seed=3, steps=20)
    way = Latents(moons).between(a, b, 5)
    assert way.shape == (5, 2)
    assert np.abs(way[0] - a).max() < 0.02
    assert np.abs(way[-1] - b).max() < 0.02


def test_classes_have_latents_of_their_own() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = rng.normal(size=(300, 2)) + 3 * y[:, None]
    model = db.fit(x, y, steps=100, batch=128, seed=0)
    latents = Latents(model)
    one, other = latents.encode(x[:20], y[:20]), latents.encode(x[:20], 1 - y[:20])
    assert np.abs(one - other).max() > 0.3
    assert np.abs(latents.decode(one, y[:20]) - x[:20]).max() < 0.05


def test_pictures_keep_their_layout() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    model = db.fit(x, steps=2, network="tiny", method="edm")
    latents = Latents(model).encode(x[:2])
    assert latents.shape == (2, 3, 8, 8)
    back = Latents(model).decode(latents)
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - x[:2]).max() <= 2
    with pytest.raises(BadInput, match=r"\(n, 3, 8, 8\)"):
        Latents(model).decode(np.zeros((2, 8, 8, 3)))
