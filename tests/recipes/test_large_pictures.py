"""Pictures of CelebA's size, 178 wide, 218 high, in colour: 116,412 numbers, from files to a likelihood."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 218, 178
MOST = 4 << 30
"""Half of the 8 GB that a laptop has; .9 GB were measured (docs/data.md)."""


def photos(folder: Path, n: int) -> None:
    """Soft waves of three colours with a grain, each its own."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for k in range(n):
        a, b, c = rng.uniform(0, 6, 3)
        waves = np.sin(x / 28 + a) * np.cos(y / 19 + b), np.cos((x + y) / 31 + c), np.sin(y / 17 + a + b)
        grain = rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        pixels = (128 + 100 * np.stack(waves, -1) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:03d}.jpg", quality=92)


def driftback(*words: object) -> dict:
    """The JSON that a command prints, run as a process of its own."""
    command = [sys.executable, "-m", "driftback", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pictures_of_celebas_size_go_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run = tmp_path / "photos", tmp_path / "run"
    photos(folder, 12)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert driftback("check", folder)["shape"] == [HEIGHT, WIDTH, 3]
    fitted = driftback("fit", folder, "--steps", 2, "--batch", 4, "--out", run, "--device", "cpu", "--quiet")
    assert fitted["samples_seen"] == 8
    driftback("sample", run, "-n", 1, "--steps", 3, "--out", tmp_path / "new.npy", "--quiet", "--device", "cpu")
    drawn = np.load(tmp_path / "new.npy")
    assert (drawn.shape, drawn.dtype) == ((1, HEIGHT, WIDTH, 3), np.uint8)
    found = driftback("likelihood", run, folder, "--n", 1, "--quiet", "--device", "cpu")
    assert np.isfinite(found["nats"])
    assert "2 probes" in found["method"]
    # Kilobytes on Linux; the largest of the four.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10 < MOST
