"""The benchmark on Fashion-MNIST writes what it says: ours, then each rival twice with the best of its rates."""

import importlib.util
import json
import sys
from functools import partialmethod
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fashion.py"


@pytest.fixture
def fashion(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("fashion", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fashion", module)
    spec.loader.exec_module(module)
    return module


def clothes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars at ten places with noise, n of each class."""
    rng, y = np.random.default_rng(seed), np.repeat(np.arange(10), n)
    x = rng.integers(0, 60, (len(y), 28, 28))
    for i, k in enumerate(y):
        x[i, 2 * k + 2 : 2 * k + 6] += 150
    return x.astype(np.uint8), y.astype(np.uint8)


@pytest.fixture
def data() -> dict:
    (x, y), (test_x, test_y) = clothes(110, 0), clothes(100, 1)
    return {"x": x, "y": y, "test x": test_x, "test y": test_y}


@pytest.mark.slow
def test_the_judge_knows_real_from_changed(fashion, data, monkeypatch) -> None:
    judging = sys.modules["workers.fashion_judge"]
    monkeypatch.setattr(judging, "DRAWS", 2)
    judge = fashion.Judge(data)
    assert judge.accuracy > 0.9
    assert judge.distance(data["test x"]) == pytest.approx(0, abs=1e-3)
    fresh = judge.distance(clothes(100, 2)[0])
    assert fresh < 3 * judge.floor
    # Planted faults: a class is missing, and all is brighter.
    missing = data["test x"].copy()
    missing[:100] = missing[100:200]
    assert judge.distance(missing) > 3 * judge.floor
    assert judge.distance(np.minimum(data["test x"].astype(int) + 60, 255).astype(np.uint8)) > 3 * judge.floor


@pytest.mark.slow
def test_all_are_in_the_record(fashion, data, tmp_path, monkeypatch) -> None:
    asked = []

    def learn(library, network, seconds, rate, spec, folder, threads, quick=False) -> dict:
        asked.append((library, network, seconds, rate))
        x = data["test x"] // (1 if rate == 3e-4 or library == "driftback" else 2)
        facts = {"parameters": 5, "pictures": 7, "rate": rate, "network": {"kind": "unet"}, "loss": rate}
        return facts | {"drawn": {"good": x, "bad": x // 2}}

    monkeypatch.setattr(fashion, "learn", learn)
    monkeypatch.setattr(fashion, "read", lambda folder: data)
    monkeypatch.setattr(fashion, "prepare_environment", lambda: None)
    judging = sys.modules["workers.fashion_judge"]
    monkeypatch.setattr(judging, "DRAWS", 2)
    monkeypatch.setattr(judging.Judge, "spread", partialmethod(judging.Judge.spread, sets=2))
    words = ["fashion.py", "--out", str(tmp_path), "--data", str(tmp_path), "--libraries", "torchcfm", "--minutes", "1"]
    words += ["--threads", "1"]
    monkeypatch.setattr(sys, "argv", words)
    fashion.main()
    (path,) = tmp_path.glob("*-fashion-1.json")
    found = json.loads(path.read_text())
    assert {"date", "machine", "torch", "minutes", "judge", "rows"} == found.keys()
    assert [(row["library"], row["network_kind"]) for row in found["rows"]] == [
        ("driftback", "its default"),
        ("torchcfm", "its own"),
        ("torchcfm", "driftback's"),
    ]
    assert all(row["best"] == "good" for row in found["rows"])
    # Each rate is tried for a tenth of the time, then the one of the lowest loss has all of it.
    assert asked[1:4] == [
        ("torchcfm", "own", 6.0, 1e-3),
        ("torchcfm", "own", 6.0, 3e-4),
        ("torchcfm", "own", 60.0, 3e-4),
    ]
    assert "| torchcfm | driftback's | 5 | 7 | good |" in fashion.table(found)
