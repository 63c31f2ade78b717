"""A logger for TensorBoard: numbers and previews as event files, with the extra `track`.

Nothing of it is imported before it is asked for. A resumed training hides what was logged after its checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from driftback.errors import BadInput

FOLDER = "tensorboard"
"""Where in a model's folder the events go."""


def refuse_without() -> None:
    """BadInput, in one line, where the package is missing."""
    if find_spec("tensorboard") is None:
        raise BadInput("TensorBoard is not installed: pip install 'driftback[track]', or leave --tensorboard out")


class TensorBoard:
    """Writes events to `folder`; those after `step` are hidden from an earlier run. Raises BadInput without the
    package.
    """

    def __init__(self, folder: str | Path, step: int = 0) -> None:
        refuse_without()
        with warnings.catch_warnings():
            # What other packages warn of on the way in is none of a user's business.
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """See `Logger`."""
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """See `Logger`."""
        self.writer.close()
