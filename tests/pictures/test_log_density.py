"""`log-density`: what the ODE says of a network integrates to one, and is the density where the network is exact."""

import numpy as np
import pytest
import torch

import driftback as db
from driftback.data.loading import load
from driftback.data.preprocessing import Preprocessing
from driftback.distributions.mixture import Mixture
from driftback.evaluation.likelihood import ode_log_likelihood
from driftback.pictures.scene import Density, Scene
from driftback.pictures.shows import SHOWS, Fitted, Options, log_density
from driftback.pictures.shows.learned import learned
from driftback.pictures.shows.subject import subject
from driftback.pictures.way import Way
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.samplers.frame import Frame
from driftback.scores.exact import ExactDenoiser


def densities(scene: Scene) -> list[Density]:
    return [layer for panel in scene.panels for layer in panel.layers if isinstance(layer, Density)]


def test_a_networks_density_stands_beside_the_exact_one_and_integrates_to_one(monkeypatch) -> None:
    monkeypatch.setattr(log_density, "CELLS", 15)
    scenes = list(SHOWS["log-density"].make(Options(frames=2, target="two-moons")).frames)
    assert [panel.title for panel in scenes[0].panels] == ["learned log p", "exact log p"]
    first, last = map(densities, scenes)
    about = subject("two-moons")
    levels = (log_density.HIGH, log_density.LOW)
    for (fitted, exact), scene, level in zip((first, last), scenes, levels, strict=True):
        told = scene.moment.split()
        assert told[:2] == ["noise", f"{level:.2f},"]
        # Both are drawn from the exact one's height down, and are densities.
        peak = about.density(1.0, level).values.max()
        assert exact.values.max() == pytest.approx(log_density.DEPTH)
        assert below(fitted, peak) == pytest.approx(float(told[3][:-1]), abs=0.02)
        assert below(exact, peak) == pytest.approx(float(told[5]), abs=0.02)
    # The learned one has of its noised target what the grid has of the exact one.
    assert below(first[0], 1.0) == pytest.approx(below(first[1], 1.0), rel=0.04)
    assert first[0].values.min() < log_density.DEPTH - 2


def test_a_network_that_is_fitted_knows_the_target(monkeypatch) -> None:
    """Its log-density is nearer to that of two Gaussians than that of one with their moments, on average over them."""
    monkeypatch.setattr("driftback.pictures.shows.learned.STEPS", 150)
    about = subject("two-gaussians")
    denoiser = learned(about, rng=Rng(0))
    x = about.sample(300, rng=Rng(1)).float()
    found = ode_log_likelihood(denoiser, x, spread=1.0, low=0.2, tolerance=0.02).nats.mean()
    exact = float(about.law.noised(1.0, 0.2).log_prob(x.double()).mean())
    one = Mixture(torch.ones(1), torch.zeros(1, 2), torch.diag(about.sample(4000, rng=Rng(2)).var(0))[None])
    worse = float(one.noised(1.0, 0.2).log_prob(x.double()).mean())
    assert worse < exact - 0.4
    assert abs(float(found) - exact) < 0.25


def below(log_p: Density, peak: float) -> float:
    """The integral of the density whose logarithm is drawn, highest at `peak`."""
    p = np.where(log_p.values > 0, peak * np.exp(log_p.values - log_density.DEPTH), 0)
    return Density(p, log_p.extent).integral


def gaussians() -> tuple[Fitted, Mixture, np.ndarray]:
    """A model whose denoiser is exact, of two columns in units of their own."""
    x = np.random.default_rng(0).normal(size=(500, 2)) * [2, 50] + [1, 100]
    prepared = Preprocessing.fit(load(x))
    process = Diffusion(EDM(), (2,), spread=1.0)
    z = prepared.encode(x)
    law = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])

    def back(n: int, seed: int, steps: int) -> Way:
        return Way(iter([Frame(0.0, z)]), prepared, process)

    return Fitted("mine", ExactDenoiser(process, law), prepared, back), law, x


def test_a_models_density_is_in_the_units_of_its_columns(monkeypatch) -> None:
    monkeypatch.setattr(log_density, "FEWER", 21)
    model, law, x = gaussians()
    scenes = list(SHOWS["log-density"].make(Options(frames=2, model=model)).frames)
    found, log_p = densities(scenes[-1])
    assert found.integral == pytest.approx(1, abs=0.03)
    # The cell in the middle, against the normal density with the noise of the last frame.
    left, right, bottom, top = found.extent
    middle = torch.tensor([[(left + right) / 2, (bottom + top) / 2]], dtype=torch.float64)
    scale, offset = (torch.tensor(part, dtype=torch.float64) for part in (model.prepared.scale, model.prepared.offset))
    exact = float(law.noised(1.0, log_density.LOW).log_prob((middle - offset) / scale) - scale.log().sum())
    assert np.log(found.values[10, 10]) == pytest.approx(exact, abs=0.02)
    assert log_p.values.max() == pytest.approx(log_density.DEPTH)
    assert x.mean(0) == pytest.approx([(left + right) / 2, (bottom + top) / 2], abs=60)


def test_a_model_without_a_plane_is_refused_in_a_line() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    model, _, _ = gaussians()
    three = Fitted("three", None, Preprocessing.fit(load(x)), model.back)
    with pytest.raises(db.BadInput, match="no model of two columns"):
        SHOWS["log-density"].make(Options(model=three))
    remembered = Fitted("remembered", None, model.prepared, model.back, density=False)
    with pytest.raises(db.BadInput, match="no density"):
        SHOWS["log-density"].make(Options(model=remembered))
    with pytest.raises(db.BadInput, match="leave --columns out"):
        SHOWS["log-density"].make(Options(model=model, columns=("0", "1")))
