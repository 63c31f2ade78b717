"""What all tests share: one thread, no window, the same examples on every run, and a place to write a model."""

import os

# Before torch, numpy and matplotlib are imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("driftback", derandomize=True, deadline=None)
settings.load_profile("driftback")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is run in the tests' own process may ask for more, and two of them then wait for each other on two cores."""
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


FITTING = {"benchmarks", "cli", "recipes", "training", "test_devices.py", "test_docs.py"}
"""Where models are fitted into folders."""


@pytest.fixture(scope="session", autouse=True)
def quick_recipes(request: pytest.FixtureRequest) -> Iterator[None]:
    """A short training is mostly previews, at which nobody looks: 2 steps for 12 or 20. Samples for which nothing is
    said are mostly the fit of their solver: to fewer ways, followed less closely, on fewer grids; `test_solver` has
    them all.
    """
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        if FITTING & {item.path.relative_to(here).parts[0] for item in request.session.items}:
            patch.setattr("driftback.recipes.job.preview_steps", lambda event: 2)
            patch.setattr("driftback.recipes.way_back.WAYS", (96, 24))
            patch.setattr("driftback.recipes.solver.FINE", 33)
            from driftback.samplers.fitted import GRIDS, ORDERS, fitted

            few = partial(fitted, orders=ORDERS[:1], grids=GRIDS[:2])
            patch.setattr("driftback.recipes.solver.fitted", few)
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where a test may write a model's directory; it does not exist yet."""
    return tmp_path / "runs" / "x"
