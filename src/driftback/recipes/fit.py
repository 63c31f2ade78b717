"""Learn once, in one call: `fit` is `prepare`, `Job.run` and `Job.finish`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from driftback.arguments import told
from driftback.networks.presets import NetworkSpec
from driftback.recipes.job import Job, Progress
from driftback.recipes.log import Summary
from driftback.recipes.model import Model
from driftback.recipes.prepare import prepare
from driftback.training.logger import Logger, Loggers

__all__ = ["Job", "Progress", "Summary", "fit", "prepare"]


@told
def fit(
    source: Any,
    y: Any = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    method: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    seed: int | None = None,
    held_out: float | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    network: NetworkSpec | str | None = None,
    augment: str | Sequence[str] | None = None,
    device: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    aspect: str | None = None,
    columns: Sequence[str] | None = None,
    n: int | None = None,
    weighting: str | None = None,
    times: str | None = None,
    optimiser: str | None = None,
    snapshots: bool | None = None,
    captions: Any = None,
    numbers: Any = None,
    groups: Any = None,
    text_encoder: str | None = None,
    shift: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    loggers: Sequence[Logger] = (),
) -> Model:
    """Fit a model to `source`: a built-in name, an array, tensor or data frame (n, *event), a file, or a folder of
    pictures.

    `y` labels the items (n,) and makes the model class-conditional; fractions, as a regression has them, condition on
    a number instead. `captions`, a sentence per item (n,), condition on text, which `text_encoder` "trained" (default)
    or "minilm" (frozen, from a package) reads; `numbers` (n,) or (n, k) condition on numbers. Items with one caption,
    or one of `groups` (n,), are trained on together or held out together. Each may be a name (of an array in an .npz)
    as well. `minutes` (default 5) is the time it may take,
    fractions too; `steps` fixes the number of steps instead, which repeats exactly. `method` is a name of
    `driftback.recipes.methods.METHODS` (default: chosen from the data). `out` is the folder to keep it in (default:
    memory only); `resume` goes on where that folder's training ended and keeps to its plan, `force` replaces what is
    there. `network` is a kind (unet, dit, mlp), a preset (tiny, small, medium, large, huge), both (dit-small), or a
    spec of your own; without one, minutes choose the preset by the speed measured here. `augment` names changes that
    pictures are trained with and samples are not: "flip", "shift" or both (default: none). `seed` >= 0 (default 0);
    `held_out` in [0, 1) is the share kept for judging (default 0.2). `batch`, `learning_rate` and `device` override
    what is chosen; `size`, `channels`, `aspect`, `columns`, `n` are passed to
    `driftback.data.load`. `weighting` and `times` are names of `driftback.training.weightings.WEIGHTINGS` and
    `driftback.training.drawing.DRAWINGS` (default: the method's own), `optimiser` is "adamw" or "muon" (the same);
    `snapshots` are kept for averages of any length
    (default: of pictures). `shift` >= 0 (default 0; method patches alone) compares patches up to so many pixels away
    too, which takes (2 shift + 1)^2 times as long. `progress` is called after every step, and `loggers`
    (`driftback.training.logger.Logger`) are told losses, speed and previews. Raises BadInput, DamagedModel, NotFinite
    or TrainingStopped.
    """
    job = prepare(
        source,
        y,
        minutes=minutes,
        steps=steps,
        method=method,
        out=out,
        resume=resume,
        force=force,
        seed=seed,
        held_out=held_out,
        batch=batch,
        learning_rate=learning_rate,
        network=network,
        augment=augment,
        device=device,
        size=size,
        channels=channels,
        aspect=aspect,
        columns=columns,
        n=n,
        weighting=weighting,
        times=times,
        optimiser=optimiser,
        snapshots=snapshots,
        captions=captions,
        numbers=numbers,
        groups=groups,
        text_encoder=text_encoder,
        shift=shift,
    )
    job.loggers = Loggers.of(job.config.plan, loggers)
    for step in job.run():
        if progress:
            progress(step)
    return job.finish()[0]
