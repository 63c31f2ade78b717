"""The weights of a model as its folder holds them: the last ones, or those that were best on held-out items."""

from __future__ import annotations

import shlex
from pathlib import Path

from driftback.errors import BadInput, DamagedModel
from driftback.files import checksum, read_tensors
from driftback.recipes.assembly import untrained
from driftback.recipes.config import Config
from driftback.scores.learned import LearnedDenoiser
from driftback.training.snapshots import averaged

WEIGHTS = "weights.safetensors"


def stored(
    config: Config, folder: Path, checkpoint: str, length: float | None = None
) -> tuple[LearnedDenoiser, int | None, str]:
    """The denoiser of the model in `folder`, how many steps its weights have seen, where that is known, and a mark that
    tells them from others. `checkpoint` is "last" or "best"; `length` is that of another average
    (`driftback.training.posthoc`). Raises BadInput and DamagedModel.
    """
    denoiser = untrained(config)
    path = {"last": folder / WEIGHTS, "best": folder / "training" / "best.safetensors"}[checkpoint]
    if checkpoint == "best" and config.held_out == 0:
        raise BadInput("nothing was held out, so no checkpoint is known to be the best; use the last one")
    if length is not None and checkpoint != "last":
        raise BadInput("an average of another length is made of the whole training; leave ema or checkpoint out")
    if not path.is_file() and (folder / WEIGHTS).is_file():
        raise DamagedModel(f"{path} is missing; use the last checkpoint, or copy the whole folder")
    if not path.is_file():
        # A kill may have come before anything was kept: then nothing is lost, and a resume begins.
        go_on = f"driftback fit {shlex.quote(config.source or 'SOURCE')} --out {shlex.quote(str(folder))} --resume"
        raise DamagedModel(
            f"{path} is missing, as before the first checkpoint: train it with {go_on}, or copy the whole folder"
        )
    weights, about = read_tensors(path)
    if length is not None:
        other, step = averaged(folder, length)
        weights, about = weights | other, {"step": step}
    try:
        denoiser.network.load_state_dict(weights)
    except RuntimeError as error:
        message = f"{path} does not fit {folder / 'config.json'}; restore both from one copy or fit the model again"
        raise DamagedModel(message) from error
    return denoiser, about.get("step"), f"{checkpoint} {checksum(weights)}"
