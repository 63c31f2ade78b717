"""Scoring many items: block by block, from the disk too, and what no likelihood can be told of."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import driftback as db
from driftback.errors import BadInput
from driftback.evaluation.likelihood import LogLikelihood
from driftback.networks.presets import NetworkSpec
from driftback.recipes import bounds
from driftback.recipes.latents import Latents

SMALL = NetworkSpec(kind="mlp", widths=(8,), depth=1)


def test_items_on_the_disk_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 MB of bytes, which are 41 as float32: only the items of a block are ever that."""
    rng = np.random.default_rng(0)
    model = db.fit(rng.integers(0, 256, (60, 32, 32), np.uint8), steps=1, method="edm", network="tiny", batch=4)
    np.save(tmp_path / "x.npy", np.tile(rng.integers(0, 256, (500, 32, 32), np.uint8), (20, 1, 1)))
    many = np.load(tmp_path / "x.npy", mmap_mode="r")
    zero = torch.zeros(model.block, dtype=torch.float64)

    def nothing(how, config, given, part, *rest):
        return LogLikelihood(zero[: len(part)], zero[: len(part)], "nothing", 1)

    monkeypatch.setattr(bounds, "told", nothing)
    tracemalloc.start()
    assert len(model.log_likelihood(many).nats) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * many.nbytes, f"{peak / 1e6:.1f} MB at once"
