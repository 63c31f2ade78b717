"""driftback: points that noise has carried off drift back.

It learns, once, the way from a simple distribution to the one your data came from, and then draws as many new points as
you want. `fit` learns, `Model.sample` draws, `evaluate` judges, and `load` brings a
saved model back. `draw` draws from a density that is known up to a constant. `film` shows what any sampler does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from driftback.errors import BadInput, DamagedModel, DriftbackError, NotFinite, TrainingStopped

if TYPE_CHECKING:
    from driftback.pictures.filmed import film
    from driftback.recipes.density.draw import draw
    from driftback.recipes.density.draws import Draws
    from driftback.recipes.evaluate import evaluate
    from driftback.recipes.fit import fit
    from driftback.recipes.model import Model, load

__all__ = [
    "BadInput",
    "DamagedModel",
    "Draws",
    "DriftbackError",
    "Model",
    "NotFinite",
    "TrainingStopped",
    "draw",
    "evaluate",
    "film",
    "fit",
    "load",
]

_HOMES = {
    "Draws": "driftback.recipes.density.draws",
    "draw": "driftback.recipes.density.draw",
    "evaluate": "driftback.recipes.evaluate",
    "film": "driftback.pictures.filmed",
    "fit": "driftback.recipes.fit",
    "Model": "driftback.recipes.model",
    "load": "driftback.recipes.model",
}


def __getattr__(name: str) -> Any:
    """The names that need torch, imported when first used, so that `driftback --help` need not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'driftback' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
