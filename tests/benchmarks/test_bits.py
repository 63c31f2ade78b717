"""The benchmark of likelihoods: its simple models are what they say, and its record has a difference for each."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bits.py"


@pytest.fixture
def bits(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("bits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bits", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LEFT_OUT", 200)
    return module


def pictures(n: int, seed: int) -> np.ndarray:
    """Independent pixels (n, 3, 4): each is its own base level or the one above, with probability 1/4."""
    rng, base = np.random.default_rng(seed), 20 * np.arange(12).reshape(3, 4)
    return (base + (rng.random((n, 3, 4)) < 0.25)).astype(np.uint8)


ENTROPY = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))


def test_the_histogram_finds_the_entropy(bits) -> None:
    """.811 bits; over 3,000 x 12 pixels the mean is within .02 (5 standard errors of the truth)."""
    found, facts = bits.histogram(pictures(3000, 0), pictures(3000, 1))
    assert found.shape == (3000,)
    assert abs(found.mean() - ENTROPY) < 0.02
    assert facts["added"] in bits.SHOWN
    # Planted fault: other pictures than it has seen cost more.
    assert bits.histogram(pictures(3000, 0)[:, ::-1], pictures(3000, 1))[0].mean() > 4


def test_the_mixture_is_told_in_the_same_unit(bits, monkeypatch) -> None:
    """A Gaussian with the moments of independent pixels: its cross-entropy is known, .5 log2(2 pi e v) with
    v = 3/16 + 1/12 in levels; that of 3,000 pictures is within .03.
    """
    monkeypatch.setattr(bits, "KINDS", {"full": (1, 1000, 3000), "diag": (1, 1000, 3000)})
    found, facts = bits.mixture(pictures(3000, 0), pictures(3000, 1))
    assert len(facts["left out"]) == 6
    assert abs(found.mean() - 0.5 * math.log2(2 * math.pi * math.e * (3 / 16 + 1 / 12))) < 0.03


def test_the_network_sees_no_pixel_before_its_turn(bits) -> None:
    network = sys.modules["workers.autoregressive"].PixelCNN((5, 6))
    x = torch.randint(0, 256, (2, 5, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    before = network(x)
    for place in (0, 7, 22, 29):
        changed = x.clone()
        changed.view(2, -1)[:, place] = 255 - changed.view(2, -1)[:, place]
        moved = (network(changed) - before).abs().amax(1).flatten(1) > 0
        assert not moved[:, : place + 1].any()
        assert place == 29 or moved[:, place + 1 :].any()
    shares = before.softmax(1)
    exact = -shares.gather(1, x.long()[:, None]).log2().mean((1, 2, 3))
    assert torch.allclose(network.bits(x), exact, atol=1e-4)


def test_all_are_in_the_record(bits, tmp_path, monkeypatch) -> None:
    data = {"x": pictures(400, 0), "test x": pictures(60, 1)}
    monkeypatch.setattr(bits, "read", lambda folder: data)
    monkeypatch.setattr(sys.modules["workers.autoregressive"], "LEFT_OUT", 100)
    monkeypatch.setattr(bits, "ours", lambda x, asked, method, minutes, draws: (np.full(len(asked), 0.5), {}))
    words = [
        "bits.py",
        "--out",
        str(tmp_path),
        "--data",
        str(tmp_path),
        "--items",
        "50",
        "--minutes",
        "0.01",
        "--threads",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", words)
    bits.main()
    (path,) = tmp_path.glob("*-bits.json")
    found = json.loads(path.read_text())
    names = [row["model"] for row in found["rows"]]
    assert names[:3] == ["histogram per pixel", "mixture of Gaussians", "PixelCNN"]
    network = found["rows"][2]["facts"]
    tried = network["tried for a tenth of the time"]
    assert len(tried) == 8
    chosen = f"{network['optimiser']}, batch {network['batch']}, rate {network['rate']:g}"
    assert tried[chosen] == min(tried.values())
    assert all(len(row["each"]) == 50 for row in found["rows"])
    first = found["rows"][0]
    assert f"| {first['bits']:.3f} | {first['error']:.3f} | {first['bits'] - 0.5:.3f} |" in bits.table(found)
