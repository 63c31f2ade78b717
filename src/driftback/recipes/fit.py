"""Learn once, in one call: `fit` is `prepare`, `Job.run` and `Job.finish`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftback.recipes.job import Job, Progress, Summary
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare

__all__ = ["Job", "Progress", "Summary", "fit", "prepare"]


def fit(source: Any, y: Any = None, *, progress: Callable[[Progress], None] | None = None, **options: Any) -> Model:
    """Fit a model to `source`: a built-in name, an array, tensor or data frame (n, *event), a file, or a folder of
    pictures.

    `y` labels the items (n,) and makes the model class-conditional. `minutes` (default 5) is the time it may take,
    fractions too; `steps` fixes the number of steps instead, which repeats exactly. `method` is a name of
    `driftback.recipes.methods.METHODS` (default: chosen from the data). `out` is the folder to keep it in (default:
    memory only); `resume` goes on where that folder's training ended and keeps to its plan, `force` replaces what is
    there. `seed` >= 0 (default 0); `held_out` in [0, 1) is the share kept for judging (default 0.2). `batch`,
    `learning_rate`, `network` and `device` override what is chosen; `size`, `channels`, `columns`, `n` are passed to
    `driftback.data.load`. Raises BadInput, DamagedModel, NotFinite or
    TrainingStopped.
    """
    job = prepare(source, y, **options)
    for step in job.run():
        if progress:
            progress(step)
    return job.finish()[0]
