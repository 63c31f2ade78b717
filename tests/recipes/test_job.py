"""What a training measures on the way and at its end."""

from typing import Any

import numpy as np
import pytest

from driftback.recipes import job as module
from driftback.recipes.budget import MOST_MEASURED
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare


def test_data_ordered_by_class_are_measured_in_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A duplicate makes the split keep the order of the data: their beginning would be the first classes alone."""
    x = np.random.default_rng(0).integers(0, 4, (6000, 4, 4))
    x[1] = x[0]
    y = np.repeat(np.arange(10), 600)
    seen: list[np.ndarray] = []
    usual, likelihood = module.level_losses, Model.log_likelihood

    def spied(denoiser: Any, x0: Any, label: Any, *more: Any, **options: Any) -> Any:
        seen.append(label.numpy())
        return usual(denoiser, x0, label, *more, **options)

    def scored(self: Model, x: Any, y: Any = None, **options: Any) -> Any:
        seen.append(np.array(y, dtype=int))
        return likelihood(self, x[:8], y[:8], **options)

    monkeypatch.setattr(module, "level_losses", spied)
    monkeypatch.setattr(Model, "log_likelihood", scored)
    job = prepare(x, y, steps=1, batch=16)
    for _ in job.run():
        pass
    job.finish()
    assert [len(labels) for labels in seen] == [MOST_MEASURED, MOST_MEASURED, 2 * MOST_MEASURED]
    assert all(len(np.unique(labels)) == 10 for labels in seen)
    # The fault that this is for: the first held-out items, as they come.
    assert len(np.unique(job.held.y[: 2 * MOST_MEASURED])) < 10
