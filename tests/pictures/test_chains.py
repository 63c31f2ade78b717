"""Plots of chains show the right numbers: which quantities, which chains, which lags; and the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.signal import lfilter

from driftback.errors import BadInput
from driftback.pictures.chains import autocorrelation, chosen, diagnostic_figure, diagnostic_plots, rank_shares


def draws(chains: int = 4, n: int = 400, q: int = 3, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((chains, n, q))
    x[0, :, 1] += 2
    return x


def test_the_worst_quantities_come_first() -> None:
    figure = diagnostic_figure(draws(), ["a", "b", "c"], k=2)
    assert len(figure.axes) == 6
    assert figure.axes[0].get_ylabel() == "b"
    assert [axes.get_title() for axes in figure.axes[:3]] == ["trace", "ranks", "autocorrelation"]
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == ["draw", "rank among all draws", "lag"]


def test_a_trace_shows_the_draws_of_its_chain() -> None:
    x = draws(3, 400)
    lines = diagnostic_figure(x, k=1).axes[0].lines
    assert len(lines) == 3
    for c, line in enumerate(lines):
        assert line.get_label() == f"chain {c}"
        np.testing.assert_array_equal(line.get_xdata(), np.arange(400))
        np.testing.assert_array_equal(line.get_ydata(), x[c, :, 1])
    thin = diagnostic_figure(draws(3, 5000), k=1).axes[0].lines[0]
    assert len(thin.get_xdata()) == 500
    assert thin.get_xdata()[-1] == 4999


def test_ranks_are_level_where_chains_agree() -> None:
    x = draws(4, 1000)
    level, apart = rank_shares(x[..., 0]), rank_shares(x[..., 1])
    np.testing.assert_allclose(level.sum(1), 1)
    np.testing.assert_allclose(level.mean(0), 1 / 20)
    # Each of 80 shares has deviation .0069: five of them are left in fewer than 1 of 10,000 seeds.
    assert np.abs(level - 0.05).max() < 0.035
    assert apart[0, :10].sum() < 0.05
    steps = [patch.get_data() for patch in diagnostic_figure(x, k=1).axes[1].patches if hasattr(patch, "get_data")]
    np.testing.assert_allclose(steps[0].values, 20 * apart[0])
    np.testing.assert_allclose(steps[0].edges, np.linspace(0, 1, 21))


def test_autocorrelation_is_that_of_an_autoregression() -> None:
    z = np.random.default_rng(1).standard_normal((2, 40_000))
    x = lfilter([1], [1, -0.8], z, axis=1)
    x[1] = 3.0
    found = autocorrelation(x)
    assert found.shape == (2, 101)
    # Deviations below .01.
    np.testing.assert_allclose(found[0], 0.8 ** np.arange(101), atol=0.05)
    assert np.isnan(found[1]).all()
    line = diagnostic_figure(np.stack([x[0], x[0, ::-1]]), k=1).axes[2].lines[1]
    np.testing.assert_allclose(line.get_ydata(), found[0])


def test_of_many_chains_some_are_shown_from_the_lowest_to_the_highest() -> None:
    x = draws(100, 50)[..., 0] + np.random.default_rng(2).permutation(100)[:, None]
    order = x.mean(1).argsort()
    shown = chosen(x)
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == (order[0], order[-1])
    figure = diagnostic_figure(x, k=1)
    assert [line.get_label() for line in figure.axes[0].lines] == [f"chain {c}" for c in shown]
    assert len({line.get_color() for line in figure.axes[0].lines}) == 8


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_draws_make_the_same_small_file(tmp_path, kind: str) -> None:
    first, second = tmp_path / f"a.{kind}", tmp_path / "new" / f"b.{kind}"
    for path in (first, second):
        diagnostic_plots(draws(q=2), ["a", "b"], path, k=2)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 400_000
    assert b"Date" not in first.read_bytes()
    if kind == "png":
        with Image.open(first) as image:
            assert image.size[0] == 1000


def test_chains_that_stand_still_can_be_drawn(tmp_path) -> None:
    x = draws(4, 50)
    x[1] = x[1, :1]
    diagnostic_plots(x, (), tmp_path / "x.png", k=3)
    diagnostic_plots(np.zeros((2, 50)), (), tmp_path / "zeros.png")
    diagnostic_plots(draws(1, 4, 2), (), tmp_path / "one.png")


def test_what_cannot_be_drawn_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"\.png or \.svg, not as x\.pdf"):
        diagnostic_plots(draws(), (), tmp_path / "x.pdf")
    with pytest.raises(BadInput, match="3 draws per chain are too few"):
        diagnostic_figure(draws(4, 3))
    with pytest.raises(BadInput, match="k must be at least 1"):
        diagnostic_figure(draws(), k=0)
