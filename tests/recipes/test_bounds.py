"""A model's likelihood by every name that it has, against the density that is known where its network says nothing."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import driftback as db
from driftback.errors import BadInput
from driftback.networks.presets import NetworkSpec
from driftback.recipes import bounds
from driftback.recipes.bounds import How
from driftback.recipes.model import Model

SMALL = NetworkSpec(kind="mlp", widths=(8,), depth=1)
N = 1000


@pytest.fixture(scope="module")
def gaussian() -> Model:
    """EDM's denoiser whose network is silent: the exact one of N(mean, deviation^2) of the data."""
    x = np.random.default_rng(0).normal(size=(4000, 2)) * [3.0, 0.5] + [10.0, -1.0]
    model = db.fit(x, steps=1, method="edm", network=SMALL, seed=0)
    with torch.no_grad():
        for weight in model.denoiser.network.parameters():
            weight.zero_()
    return model


def drawn(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the Gaussian that the silent model is of, and their log-density in nats."""
    prepared, spread = model.config.preprocessing, model.config.spread
    mean, deviation = np.array(prepared.offset), np.array(prepared.scale) * spread
    z = np.random.default_rng(1).normal(size=(N, 2))
    return mean + deviation * z, -((z**2).sum(1) / 2 + np.log(deviation).sum() + math.log(2 * math.pi))


def below(model: Model, **options: Any) -> tuple[float, float]:
    """How far a bound lies under the truth on average, and its standard error."""
    x, truth = drawn(model)
    gap = truth - model.log_likelihood(x, seed=3, **options).nats.numpy()
    return float(gap.mean()), float(gap.std() / math.sqrt(N))


def test_the_ode_is_the_density(gaussian: Model) -> None:
    x, truth = drawn(gaussian)
    assert np.abs(gaussian.log_likelihood(x, bound="ode").nats.numpy() - truth).max() < 1e-3
    assert np.array_equal(gaussian.log_likelihood(x, bound="ode").nats, gaussian.log_likelihood(x).nats)


@pytest.mark.parametrize("name", ["ddpm", "entropy"])
def test_chains_bound_it_from_below(gaussian: Model, name: str) -> None:
    """More steps come nearer. Measured: see the comment."""
    coarse, error = below(gaussian, bound=name, steps=10, draws=10)
    fine, finer = below(gaussian, bound=name, steps=500, draws=64)
    assert coarse > 0.3 + 4 * error
    assert -4 * finer < fine < 0.15 + 4 * finer


def test_the_terms_add_up_in_the_units_of_the_data(gaussian: Model) -> None:
    x, _ = drawn(gaussian)
    found = gaussian.log_likelihood(x[:50], bound="ddpm", steps=20)
    assert found.terms is not None
    assert torch.allclose(-sum(found.terms.values()), found.nats)
    assert found.method == "DDPM's bound, 20 steps"
    found = gaussian.log_likelihood(x[:50], bound="entropy", steps=20)
    assert found.terms is not None
    assert torch.allclose(found.terms["entropies"] - found.terms["steps"], found.nats)
    assert found.method == "Sohl-Dickstein's K, 20 steps"
    # Planted fault: the terms of encoded items are off by the log of the scales.
    assert abs(gaussian.config.preprocessing.log_det) > 0.1


def test_some_steps_of_a_chain_stand_for_all(gaussian: Model) -> None:
    x, _ = drawn(gaussian)
    found = gaussian.log_likelihood(x, bound="ddpm", draws=16)
    assert found.method == "DDPM's bound, 1000 steps, 16 of them drawn"
    assert found.evaluations == 20


def test_a_models_own_chain_is_taken() -> None:
    model = db.fit("two-moons", n=200, steps=1, method="iddpm", network=SMALL)
    assert len(bounds.chain(model.config, model.denoiser.process)) == 4001
    assert len(bounds.chain(model.config, model.denoiser.process, 50)) == 51
    found = model.log_likelihood(model.sample(4), bound="ddpm", draws=4)
    assert found.method.startswith("DDPM's bound, 4000 steps")


def test_levels_have_a_probability_by_both_bounds() -> None:
    """Of a silent network the two differ by what their decoders make of the levels, and are probabilities both."""
    x = np.random.default_rng(0).integers(0, 5, (400, 3)).astype(np.uint8)
    model = db.fit(x, steps=200, method="levels", network=SMALL, seed=0)
    continuous = model.log_likelihood(x[:200], bound="continuous", draws=256)
    chain = model.log_likelihood(x[:200], bound="ddpm", steps=200, draws=100)
    assert np.array_equal(continuous.nats, model.log_likelihood(x[:200], draws=256).nats)
    truth = -3 * math.log(5)
    for found in (continuous, chain):
        assert truth - 0.5 < found.mean < truth + 0.1


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("two-moons", {"bound": "cntinuous"}, "there is no bound 'cntinuous' .did you mean continuous"),
        ("two-moons", {"bound": "continuous"}, "the continuous bound is of levels"),
        ("two-moons", {"steps": 5}, "steps belong to a chain's bound, ddpm or entropy, not to ode"),
        ("two-moons", {"bound": "ddpm", "steps": 1}, "steps must be at least 2"),
        ("two-moons", {"bound": "ddpm", "draws": 1}, "1 draws have no standard error"),
        ("digits", {"bound": "ode"}, "method levels draws levels, which have no density"),
        ("digits", {"bound": "entropy"}, "take continuous or ddpm, not entropy"),
    ],
)
def test_what_a_model_has_not_is_told(data: str, options: dict, said: str) -> None:
    model = db.fit(data, n=100, steps=1, network=None if data == "digits" else SMALL)
    with pytest.raises(BadInput, match=said):
        model.log_likelihood(model.sample(2, steps=2), **options)


def test_what_suits_is_taken_where_nothing_is_said(gaussian: Model) -> None:
    assert How().settled(gaussian.config) == "ode"
    assert How("entropy", steps=3).settled(gaussian.config) == "entropy"
