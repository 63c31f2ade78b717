"""Weights of a cell's points by their moments, against summing the points, and what is left out against the bound."""

import numpy as np
import pytest

from driftback.distributions.hermite import ORDER, expanded, left_out, moments


def cell(d: int, radius: float) -> np.ndarray:
    """A lopsided one, about its mean."""
    u = np.random.default_rng(d).exponential(size=(30, d))
    u -= u.mean(0)
    return radius * u / np.linalg.norm(u, axis=1).max()


def summed(e: np.ndarray, p: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean weight and the mean of weights times x - y, point by point, relative to a point in the middle."""
    weights = np.exp(p[:, None] * ((e**2).sum(1)[:, None] - ((e[:, None] - u) ** 2).sum(2)) / 2)
    return weights.mean(1), (weights[:, :, None] * (u - e[:, None])).mean(1)


@pytest.mark.parametrize("radius", [0.02, 0.1, 0.4, 1.5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_is_left_out_is_at_most_what_is_said(d: int, radius: float) -> None:
    rng, scale = np.random.default_rng(0), 0.3
    u, p = scale * cell(d, radius), np.full(400, scale**-2)
    e = scale * rng.normal(size=(400, d)) * rng.uniform(0, 6, (400, 1))
    one = np.zeros(400, np.int64)
    found, moved = expanded(e, p, moments(u, np.array([0]), np.array([len(u)]))[:, one])
    exact, exactly = summed(e, p, u)
    far, beyond = np.linalg.norm(e, axis=1) / scale, (np.linalg.norm(u / scale, axis=1) ** (ORDER + 1)).mean()
    # Of this size is the largest weight on the way.
    most = np.exp((far**2 - np.maximum(far - radius, 0) ** 2) / 2)
    of_sum, of_mean = (most * part for part in left_out(far + radius, np.full(400, beyond)))
    off, off_mean = np.abs(found - exact), np.linalg.norm(moved - exactly, axis=1) / scale
    assert (off <= of_sum + 1e-12).all()
    assert (off_mean <= of_mean + 1e-12).all()
    if radius < 1:
        assert np.median(of_sum / off) < 200 > np.median(of_mean / off_mean), "and it says little more"


def test_a_point_in_the_middle_needs_no_expansion() -> None:
    e = np.random.default_rng(0).normal(size=(20, 3))
    found, moved = expanded(
        e, np.ones(20), moments(np.zeros((1, 3)), np.array([0]), np.array([1]))[:, np.zeros(20, int)]
    )
    assert np.allclose(found, 1)
    assert np.allclose(moved, -e)


def test_cells_have_moments_of_their_own() -> None:
    u = np.concatenate([cell(2, 0.1), cell(2, 1.0)[::2]])
    both = moments(u, np.array([0, 30]), np.array([30, 15]))
    assert np.allclose(both[:, 0], moments(u[:30], np.array([0]), np.array([30]))[:, 0])
    assert np.allclose(both[:, 1], moments(u[30:], np.array([0]), np.array([15]))[:, 0])
