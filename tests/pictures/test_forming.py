"""`forming`: what a model makes comes out of noise, in the units of its data, and ends as the model draws it."""

import numpy as np
import pytest
import torch

import driftback as db
from driftback.data.loading import load
from driftback.data.preprocessing import Preprocessing
from driftback.distributions.low_rank_fit import Shape, fitted
from driftback.pictures.scene import Points, Scene, Tiles
from driftback.pictures.shows import SHOWS, Fitted, Options
from driftback.pictures.shows.forming import full
from driftback.pictures.way import Way, shrinking
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.samplers.frame import Frame


def shown(**named) -> list[Scene]:
    return list(SHOWS["forming"].make(Options(**named)).frames)


def test_digits_form_by_an_exact_score() -> None:
    scenes = shown(frames=5)
    tiles = [scene.panels[0].layers[0] for scene in scenes]
    assert all(isinstance(layer, Tiles) and layer.pictures.shape == (4, 8, 8, 3) for layer in tiles)
    assert "by a fitted mixture" in scenes[0].caption
    assert tiles[0].words == ("0", "1", "2", "3")
    # The outermost columns of digits are empty: noise is there at first, and nothing at the end.
    edge = [layer.pictures[:, :, 0].mean() for layer in tiles]
    assert edge[0] > 60
    assert edge[-1] < 8


def test_a_mixture_in_few_directions_is_one_with_full_covariances() -> None:
    x = torch.from_numpy(load("digits").x[:300]).float().flatten(1)[:, 20:30]
    law = fitted(x, None, 1, Shape(4, 3, shared=False), rng=0)
    y = x[:20] + 0.5
    none = torch.full((20,), -1)
    assert torch.allclose(full(law).log_prob(y.double()), law.log_prob(y, none).double(), rtol=1e-4)


def test_a_target_forms_by_a_network_in_its_own_units() -> None:
    scenes = shown(frames=3, target="two-gaussians")
    assert "fitted in seconds" in scenes[0].caption
    for scene in scenes:
        (layer,) = scene.panels[0].layers
        assert layer.x.shape == (60, 2)
    # Shrunk to the deviation of the data, noise is as wide as they are.
    widths = [scene.panels[0].layers[0].x.std() for scene in scenes]
    assert 0.6 < widths[0] / widths[-1] < 1.6


def ready(x: np.ndarray) -> Fitted:
    """A model of one step, whose noise is `x` encoded and far away and whose end is `x`."""
    prepared = Preprocessing.fit(load(x))
    process = Diffusion(EDM(), prepared.internal_event, spread=1.0)
    z = prepared.encode(x)

    def back(n: int, seed: int, steps: int) -> Way:
        return Way(iter([Frame(k / steps, z * (1 + 80 * k / steps)) for k in range(steps, -1, -1)]), prepared, process)

    return Fitted("mine", None, prepared, back)


def test_rows_of_a_model_are_shown_by_two_columns_and_shrunk() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)) * [1, 10, 100] + 5
    scenes = shown(frames=4, model=ready(x))
    assert len(scenes) == 4
    last = scenes[-1].panels[0].layers[0]
    assert isinstance(last, Points)
    assert np.allclose(last.x, x[:, :2], atol=1e-3)
    assert "a model of mine" in scenes[0].caption
    turned = shown(frames=4, model=ready(x), columns=("2", "0"))[-1].panels[0].layers[0]
    assert np.allclose(turned.x, x[:, [2, 0]], atol=1e-3)
    # 81 z at sigma = 80 has the deviation 81 / sqrt(1 + 80^2) once it is shrunk.
    first = scenes[0].panels[0].layers[0]
    assert first.x.std(0) == pytest.approx(x[:, :2].std(0) * 81 / np.hypot(1, 80), rel=1e-3)
    assert shrinking(Diffusion(EDM(), (2,), spread=2.0), 0.0) == 1.0


def test_a_model_beside_a_target_is_refused() -> None:
    with pytest.raises(db.BadInput, match="not of both"):
        Options(target="two-moons", model=ready(np.random.default_rng(0).normal(size=(9, 2))))
