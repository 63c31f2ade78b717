"""Films that fit something, or draw much, are made small for the tests of every change."""

from collections.abc import Iterator

import pytest

SMALL = {
    "learned.STEPS": 30,
    "learned.POINTS": 500,
    "log_density.CELLS": 10,
    "log_density.FEWER": 10,
    "log_density.TOLERANCE": 0.02,
    "forming.PICTURES": 4,
    "forming.POINTS": 60,
    "forming.STEPS": 12,
    "memorising.POINTS": 120,
    "steps.POINTS": 300,
    "steps.FEW": 80,
    "steps.TIMES": 8,
    "steps.MOST": 8,
}


@pytest.fixture(autouse=True)
def small_films(request: pytest.FixtureRequest) -> Iterator[None]:
    """The slow tests have them as they are."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("slow") is None:
            for name, value in SMALL.items():
                patch.setattr(f"driftback.pictures.shows.{name}", value)
        yield
