"""Features by name: a network's where it is installed, a small dictionary's where not, and Inception's when asked."""

from __future__ import annotations

import difflib
from pathlib import Path

from driftback.errors import BadInput
from driftback.evaluation.features import efficientnet, inception, patches
from driftback.evaluation.features.judged import Kind

AUTO, NONE = "auto", "none"

FEATURES: dict[str, Kind] = {
    efficientnet.NAME: Kind(lambda train: efficientnet.efficientnet()),
    patches.NAME: Kind(patches.Patches.fit),
    inception.NAME: Kind(lambda train: inception.inception(), inception.fid_and_kid),
}
"""Kinds of features of pictures by the name that a user types."""


def features_named(name: str) -> Kind:
    """The kind called `name`; 'auto' is the network's where it is installed. BadInput for another."""
    if name == AUTO:
        name = efficientnet.NAME if efficientnet.installed() else patches.NAME
    if name not in FEATURES:
        near = difflib.get_close_matches(str(name), FEATURES, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise BadInput(f"there are no features called {name}: {meant}known are {', '.join((AUTO, *FEATURES, NONE))}")
    return FEATURES[name]


def with_weights(path: Path) -> Kind:
    """Inception's features with the weights in the file `path`, for FID."""
    return Kind(lambda train: inception.inception(path), inception.fid_and_kid)
