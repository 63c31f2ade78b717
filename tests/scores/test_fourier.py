"""Waves of the picture are shown beside it, at the paper's frequencies."""

import math

import torch

from driftback.recipes.methods import METHODS
from driftback.scores.fourier import Fourier
from driftback.scores.parametrisation import predict_noise


def test_what_is_shown() -> None:
    inner, generator = predict_noise(0.7), torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    alpha = sigma = torch.full((2,), 0.6, dtype=torch.float64)
    shown = Fourier(inner).shown(x, alpha, sigma)
    assert shown.shape == (2, 15, 4, 4)
    assert Fourier(inner).channels(3) == (15, 3)
    assert torch.equal(shown[:, :3], inner.shown(x, alpha, sigma))
    for k, power in enumerate((7, 8)):
        for j, wave in enumerate((torch.sin, torch.cos)):
            at = 3 * (1 + 2 * k + j)
            assert torch.allclose(shown[:, at : at + 3], wave(2**power * math.pi * x), atol=1e-9)


def test_neighbouring_grey_levels_look_different() -> None:
    """Of 256 levels in [-1, 1] one and the next are half a period apart for n = 7: the sign of the wave tells them."""
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[100:110].reshape(-1, 1, 1, 1)
    one = torch.ones(10, dtype=torch.float64)
    cosines = Fourier(predict_noise(0.5)).shown(x, one, one)[:, 2, 0, 0]
    assert (cosines[1:] * cosines[:-1] < 0).all()


def test_pictures_have_them_and_points_do_not() -> None:
    assert isinstance(METHODS["vdm"].parametrisation(0.5, event=(1, 8, 8)), Fourier)
    assert not isinstance(METHODS["vdm"].parametrisation(0.5, event=(2,)), Fourier)
    assert not isinstance(METHODS["edm"].parametrisation(0.5, event=(1, 8, 8)), Fourier)
