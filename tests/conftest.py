"""What all tests share: one thread, no window, the same examples on every run, and a place to write a model."""

import os

# Before torch, numpy and matplotlib are imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("driftback", derandomize=True, deadline=None)
settings.load_profile("driftback")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where a test may write a model's directory; it does not exist yet."""
    return tmp_path / "runs" / "x"
