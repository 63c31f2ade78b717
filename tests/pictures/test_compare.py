"""The picture of a comparison has each way's points in its own panel, over the exact ones, in one frame."""

import numpy as np

from driftback.pictures.compare import comparison_figure


def test_points_are_where_they_were_drawn() -> None:
    rng = np.random.default_rng(0)
    truth, one, line = rng.normal(size=(300, 3)), rng.normal(size=(200, 3)), rng.normal(size=(50, 1))
    figure = comparison_figure([("one", one), ("two", one + 1), ("three", one), ("four", one)], truth)
    axes = figure.axes
    assert [ax.get_title() for ax in axes[:4]] == ["one", "two", "three", "four"]
    below, above = axes[1].lines
    assert np.array_equal(below.get_xydata(), truth[:, :2])
    assert np.array_equal(above.get_xydata(), one[:, :2] + 1)
    assert axes[0].get_xlim() == axes[3].get_xlim()
    assert not axes[5].axison
    (drawn,) = comparison_figure([("line", line)], None).axes[0].lines
    assert np.array_equal(drawn.get_xdata(), line[:, 0])
