"""What all tests share: one thread, no window, the same examples on every run, and a place to write a model."""

import os

# Before torch, numpy and matplotlib are imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("driftback", derandomize=True, deadline=None)
settings.load_profile("driftback")


FITTING = {"benchmarks", "cli", "recipes", "training", "test_devices.py", "test_docs.py"}
"""Where models are fitted into folders."""


@pytest.fixture(scope="session", autouse=True)
def quick_previews(request: pytest.FixtureRequest) -> Iterator[None]:
    """Previews are drawn with 2 steps for 12 or 20: nobody looks at them, and a short training is mostly previews."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        if FITTING & {item.path.relative_to(here).parts[0] for item in request.session.items}:
            patch.setattr("driftback.recipes.job.preview_steps", lambda event: 2)
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where a test may write a model's directory; it does not exist yet."""
    return tmp_path / "runs" / "x"
