"""Densities in the units of the data: a change of unit, a cell and a bit each have one exact value."""

import math

import numpy as np
import pytest
import torch

import driftback as db
from driftback.data.fine import find_grid
from driftback.evaluation.likelihood import LogLikelihood
from driftback.networks.presets import NetworkSpec
from driftback.recipes import bounds as recipe
from driftback.recipes.scoring import SPREADS


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 2.0, 0.5]


def test_another_unit_moves_the_log_density_by_its_logarithm(points) -> None:
    """The same points in thousandths are the same model inside, and a thousandth as dense along each number."""
    plain, fine = (db.fit(u * points, steps=3, seed=0).score_samples(u * points[:5]) for u in (1.0, 1000.0))
    assert fine == pytest.approx(plain - 3 * math.log(1000), abs=1e-3)


def test_pictures_have_one_scale_for_all_pixels() -> None:
    pictures = np.random.default_rng(0).random((60, 4, 5))
    model = db.fit(pictures, steps=2, batch=8, seed=0)
    (scale,) = model.config.preprocessing.scale
    assert model.config.preprocessing.log_det == pytest.approx(-20 * math.log(scale))


def test_a_cell_is_worth_its_volume_and_noise_stays_inside(monkeypatch) -> None:
    """With the density 1 everywhere the probability of an item is its cell's volume."""
    x = np.random.default_rng(0).integers(0, 5, (300, 3)).astype(float)
    model = db.fit(x, steps=2, method="edm", seed=0)
    shown = []

    def flat(denoiser, part, **kept):
        shown.append(part)
        return LogLikelihood(torch.zeros(len(part)).double(), torch.zeros(len(part)).double(), "flat", 1)

    monkeypatch.setattr(recipe, "ode_log_likelihood", flat)
    found = model.log_likelihood(x)
    cell = 1 / model.config.preprocessing.scale[0]
    assert found.nats.numpy() == pytest.approx(np.full(300, 3 * math.log(cell)), rel=1e-6)
    off = torch.cat(shown) - model.config.preprocessing.encode(x).repeat(SPREADS, 1)
    assert float(off.abs().max()) <= cell / 2 * (1 + 1e-5)
    # 900 uniform numbers and three times as many: their mean has standard error cell / sqrt(12 * 3600),
    # and their deviation is known to 2 %.
    assert abs(float(off.mean())) < 4 * cell / math.sqrt(12 * 900 * SPREADS)
    assert float(off.std()) == pytest.approx(cell / math.sqrt(12), rel=0.1)


@pytest.mark.parametrize("kind", ["whole", "16 bits", "fractions"])
@pytest.mark.parametrize("count", [2, 17, 256, 4096])
def test_any_number_of_levels_has_a_probability(count: int, kind: str, monkeypatch) -> None:
    """Whole numbers, 16 bits that they fill, and fractions of 1: where the density is even over all cells,
    each value is as likely, 1 in `count`, whatever the units.
    """
    k = np.random.default_rng(0).integers(0, count, (300, 4, 4))
    k.flat[:4] = 0, 1, count - 2, count - 1
    step = {"whole": 1, "16 bits": 65535 // (count - 1), "fractions": 1 / (count - 1)}[kind]
    x = (k * step).astype({"whole": np.float64, "16 bits": np.uint16, "fractions": np.float32}[kind])
    model = db.fit(x, steps=1, method="edm", network="tiny", seed=0)

    def even(denoiser, part, **kept):
        nats = torch.full((len(part),), -16 * math.log(count * step / model.config.preprocessing.scale[0]))
        return LogLikelihood(nats.double(), torch.zeros(len(part)).double(), "even", 1)

    monkeypatch.setattr(recipe, "ode_log_likelihood", even)
    found = model.log_likelihood(x[:3])
    assert model.bits_per_dim(found.mean) == pytest.approx(math.log2(count), abs=1e-4)
    assert "uniform dequantisation" in found.method
    samples = model.sample(2, steps=2)
    assert np.abs(samples / step - np.rint(samples / step)).max() < 2e-3


def test_continuous_pictures_have_no_grid() -> None:
    rng = np.random.default_rng(0)
    for x in (rng.random((50, 4, 4)), rng.normal(size=(50, 4, 4)).astype(np.float32), rng.random((50, 4, 4)) ** 2):
        assert find_grid(x) is None
        assert find_grid(x.astype(np.float16)) is None
    assert find_grid(rng.integers(0, 1 << 40, (300, 300))).step == 1
    fractions = rng.integers(0, 4000, (300, 300)) / 3999 - 0.3
    for x in (fractions, fractions.astype(np.float32)):  # whose least step is a step but for its rounding
        assert find_grid(x).step == pytest.approx(1 / 3999)


def test_where_items_are_spread_is_in_their_error() -> None:
    """Three columns on five levels, of which a density is exact: all that is random is the draw from their cells."""
    x = np.random.default_rng(0).integers(0, 5, (300, 3)).astype(float)
    model = db.fit(x, steps=100, method="edm", network=NetworkSpec(kind="mlp", widths=(8,), depth=1), seed=0)
    same = np.repeat(x[:2], 150, 0)
    found = model.log_likelihood(same)
    assert found.method.endswith("uniform dequantisation, 4 draws")
    assert found.freedom == SPREADS - 1
    true = found.nats.reshape(2, 150).var(1).mean().sqrt()
    # Measured: .142 told, .138 true; a variance from 150 draws errs by a tenth. Told before: 0.
    assert float(found.error.square().mean().sqrt()) == pytest.approx(float(true), rel=0.2)
    low, high = found.interval(0.95)
    middle = found.nats.reshape(2, 150).mean(1).repeat_interleave(150)
    assert float(((low < middle) & (middle < high)).double().mean()) > 0.9


def test_bits_are_nats_per_dimension_over_log_two(points) -> None:
    model = db.fit(points, steps=2, seed=0)
    assert model.bits_per_dim(-3 * math.log(2)) == pytest.approx(1.0)
