"""driftback: points that noise has carried off drift back.

It learns, once, the way from a simple distribution to the one your data came from, and then draws as many new points as
you want. `fit` learns, `Model.sample` draws, and `load` brings a saved model
back.
"""

from driftback.errors import BadInput, DamagedModel, DriftbackError, TrainingStopped
from driftback.recipes.fit import fit
from driftback.recipes.model import Model, load

__all__ = ["BadInput", "DamagedModel", "DriftbackError", "Model", "TrainingStopped", "fit", "load"]
