"""Scoring many items: block by block, from the disk too, and what no likelihood can be told of."""

import copy
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import driftback as db
from driftback.errors import BadInput, NotFinite
from driftback.evaluation.likelihood import LogLikelihood
from driftback.networks.presets import NetworkSpec
from driftback.recipes import bounds
from driftback.recipes.density.fitted import fitted
from driftback.recipes.latents import Latents
from driftback.recipes.model import Model

SMALL = NetworkSpec(kind="mlp", widths=(8,), depth=1)


def test_items_on_the_disk_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 MB of bytes, which are 41 as float32: only the items of a block are ever that."""
    rng = np.random.default_rng(0)
    model = db.fit(rng.integers(0, 256, (60, 32, 32), np.uint8), steps=1, method="edm", network="tiny", batch=4)
    np.save(tmp_path / "x.npy", np.tile(rng.integers(0, 256, (500, 32, 32), np.uint8), (20, 1, 1)))
    many = np.load(tmp_path / "x.npy", mmap_mode="r")
    zero = torch.zeros(model.block, dtype=torch.float64)

    def nothing(how, config, given, part, *rest):
        return LogLikelihood(zero[: len(part)], zero[: len(part)], "nothing", 1)

    monkeypatch.setattr(bounds, "told", nothing)
    tracemalloc.start()
    assert len(model.log_likelihood(many).nats) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * many.nbytes, f"{peak / 1e6:.1f} MB at once"


@pytest.fixture(scope="module")
def points() -> Model:
    return db.fit(np.random.default_rng(0).normal(size=(300, 2)), steps=3, network=SMALL, method="edm", seed=0)


def test_what_remembers_has_no_likelihood_as_a_target_either(tmp_path: Path) -> None:
    model = db.fit(np.random.default_rng(0).normal(size=(60, 2)), method="recorded")
    with pytest.raises(BadInput, match="method recorded has no density"):
        fitted(model, "it")


def test_fractions_among_whole_numbers_are_refused() -> None:
    """They lie between the cells, and were scored as if each was a probability of its own."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=300), rng.integers(0, 900, 300)], 1)
    model = db.fit(x, steps=1, method="edm", network=SMALL, seed=0)
    other = x[:5].copy()
    other[3, 1] += 0.5
    with pytest.raises(BadInput, match=r"column 1 holds whole numbers in .* \(item 3\) is none of them"):
        model.log_likelihood(other)
    fine = (rng.integers(0, 1000, (60, 8, 8)) / 999).astype(np.float32)
    pictures = db.fit(fine, steps=1, method="edm", network="tiny", batch=4)
    with pytest.raises(BadInput, match=r"values lie 0.001001 apart .* \(item 1\) is none of them"):
        pictures.log_likelihood(np.stack([fine[0], fine[1] * 0.9]), bound="ddpm", steps=2)


def test_far_items_are_told_as_such(points: Model) -> None:
    """A point whose square overflows says nothing against the model; weights that are no numbers do."""
    x = points.sample(5, steps=4)
    x[3] = 1e25
    with pytest.raises(BadInput, match="log-likelihood of item 3 is NaN or infinite: it lies too far"):
        points.log_likelihood(x)
    with pytest.raises(BadInput, match="log-likelihood of item 0 is NaN or infinite: it lies too far"):
        points.log_likelihood(x[3:4])
    with pytest.raises(BadInput, match="latent of item 3 is NaN or infinite: it lies too far"):
        Latents(points).encode(np.where(x > 1e20, 1e37, x))
    with pytest.raises(BadInput, match="item of latent 1 is NaN or infinite: it lies too far"):
        Latents(points).decode([[0.0, 0.0], [3e38, 3e38]])
    spoilt = copy.deepcopy(points.denoiser)
    with torch.no_grad():
        for weight in spoilt.network.parameters():
            weight.fill_(math.nan)
    with pytest.raises(NotFinite, match="the training diverged"):
        replace(points, denoiser=spoilt).log_likelihood(x[:3])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda m: Latents(m).between([0.0, 1.0], [0.0, 1.0, 2.0]), r"have the shapes \(2,\) and \(3,\)"),
        (lambda m: Latents(m).decode("abc"), "latents must be numbers"),
        (lambda m: Latents(m).decode([[0.0, math.nan]]), "latent 0 holds NaN"),
        (lambda m: Latents(m).decode([[0.0], [1.0, 2.0]]), "different lengths"),
        (lambda m: Latents(m, tolerance=0), "tolerance must be above 0"),
        (lambda m: Latents(m, tolerance="a"), "tolerance must be a number"),
        (lambda m: Latents(m).encode([[0.0], [1.0, 2.0]]), "different lengths"),
        (lambda m: m.log_likelihood([[0.0], [1.0, 2.0]]), "different lengths"),
        (lambda m: m.log_likelihood([[0.0, 1.0]], bound="ddpm", draws=2.5), "draws must be a whole number"),
        (lambda m: m.log_likelihood([[0.0, 1.0]], bound="ddpm", draws="a"), "draws must be a whole number"),
        (lambda m: m.log_likelihood([[0.0, 1.0]], draws=8), "exact up to 16 numbers, and draws nothing"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(points: Model, wrong: Callable[[Model], object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        wrong(points)


def test_draws_are_the_probes_of_an_ode() -> None:
    model = db.fit(np.random.default_rng(0).normal(size=(100, 17)), steps=1, network=SMALL, method="edm")
    x = model.sample(2, steps=2)
    few, usual = model.log_likelihood(x, draws=3), model.log_likelihood(x)
    assert "3 probes" in few.method
    assert few.freedom == 2
    assert few.products == 3 * few.evaluations
    assert "8 probes" in usual.method
