"""The benchmark counts right, and it runs; without rivals, since they live in an environment of their own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed.py"


@pytest.fixture
def speed(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("speed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "speed", module)
    spec.loader.exec_module(module)
    return module


def test_a_rival_that_takes_twice_as_long_has_ratio_two(speed) -> None:
    seconds = {"driftback": [1.0, 3.0, 2.0], "slow": [2.0, 6.0, 4.0]}
    assert speed.ratios(seconds, "slow") == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("n", [6, 11, 40])
def test_the_interval_holds_the_median_as_often_as_it_says(speed, n) -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, n))
    found = np.array([speed.interval(row) for row in draws.tolist()])
    covered = np.mean((found[:, 0] <= np.log(2)) & (np.log(2) <= found[:, 1]))
    # At least .95; 2,000 draws have a standard error of .005, so a fresh seed gives a false alarm at most once in 700.
    assert covered > 0.935
    planted = np.mean((found[:, 0] <= 2 * np.log(2)) & (2 * np.log(2) <= found[:, 1]))
    assert planted < 0.935  # an interval around another point is seen


def test_too_few_rounds_give_no_interval(speed) -> None:
    assert speed.interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_the_tables_of_a_saved_run_are_printed_without_measuring(tmp_path) -> None:
    network = {"8x8 own": {"parameters": 1234, "flops_per_picture": 5e6, "memory_layout": "contiguous"}}
    library = {"version": "1.0", "torch": "2", "networks": network}
    facts = {"cpu": "c", "cores": 2, "threads": 2, "system": "s", "python": "3", "table_clock": "cpu"}
    result = {
        "date": "2026-01-02",
        "machine": facts | {"cores_used_by_others": [0.5]},
        "libraries": {"driftback": library, "diffusers": library},
        "seconds": {
            "wall": {"train · 8x8 · own network": {"driftback": [1.0], "diffusers": [9.0]}},
            "cpu": {"train · 8x8 · own network": {"driftback": [0.5], "diffusers": [1.0]}},
        },
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    command = [sys.executable, SCRIPT, "--table", path]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True).stdout
    assert "| train · 8x8 · own network | 500 ms | 2.00 |" in printed  # the clock that the run named, not the other
    assert "| diffusers, 8x8 | 1,234 | 5 | contiguous |" in printed


@pytest.mark.slow
def test_it_runs_without_rivals(tmp_path) -> None:
    command = [sys.executable, SCRIPT, "--quick", "--libraries", "--threads", "1", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "| train · 8x8 · own network |" in done.stdout
    (path,) = tmp_path.glob("*-speed.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["machine"]["threads"] == 1
    assert all(times["driftback"][0] > 0 for times in result["seconds"]["wall"].values())
