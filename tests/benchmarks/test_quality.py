"""The benchmark of quality writes what it says: plans in order, with seconds, label agreement, machine and date."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality.py"


@pytest.fixture
def quality(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quality", module)
    spec.loader.exec_module(module)
    return module


def test_every_plan_is_in_the_record(quality, tmp_path, monkeypatch) -> None:
    def fitted(source: str, minutes: float, n: int) -> dict:
        facts = {"source": source, "minutes": minutes, "seconds": 1.0, "steps": 10, "capped": False}
        return facts | {"bits_per_dim": None, "metrics": []}

    monkeypatch.setattr(quality, "fitted", fitted)
    monkeypatch.setattr(sys, "argv", ["quality.py", "--out", str(tmp_path / "q.json")])
    quality.main()
    found = json.loads((tmp_path / "q.json").read_text())
    assert {"date", "machine", "torch", "references", "results"} == found.keys()
    assert {"cpu", "cores", "threads"} <= found["machine"].keys()
    assert [(run["source"], run["minutes"]) for run in found["results"]] == [plan[:2] for plan in quality.PLANS]
    assert [plan[:2] for plan in quality.PLANS][:2] == [("digits", 1.4), ("digits", 10.0)]


@pytest.mark.slow
def test_a_fit_is_recorded_with_what_it_took(quality, monkeypatch) -> None:
    usual = quality.prepare
    monkeypatch.setattr(quality, "prepare", lambda source, minutes, seed: usual(source, n=300, steps=2, seed=seed))
    run = quality.fitted("digits", 1.4, 40)
    assert 0 <= run["label_agreement"] <= 1
    assert run["seconds"] > 0
    assert run["steps"] == 2
    assert not run["capped"]
    assert "digits, 1.4 min" in quality.table([run])
