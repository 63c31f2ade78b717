"""Features by name: a network's where it is installed, a small dictionary's where not, and Inception's when asked."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.features import efficientnet, patches
from driftback.evaluation.features.extractor import Extractor

AUTO, NONE = "auto", "none"

FEATURES: dict[str, Callable[[Tensor], Extractor]] = {
    efficientnet.NAME: lambda train: efficientnet.efficientnet(),
    patches.NAME: patches.Patches.fit,
}
"""From encoded training pictures (n, c, h, w) to an extractor, by the name that a user types."""


def features_named(name: str) -> Callable[[Tensor], Extractor]:
    """What makes the extractor called `name`; 'auto' is the network's where it is installed. BadInput for another."""
    if name == AUTO:
        name = efficientnet.NAME if efficientnet.installed() else patches.NAME
    if name not in FEATURES:
        near = difflib.get_close_matches(name, FEATURES, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise BadInput(f"there are no features called {name}: {meant}known are {', '.join((AUTO, *FEATURES, NONE))}")
    return FEATURES[name]
