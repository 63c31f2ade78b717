"""Which optimiser trains: the method's own where nothing is said, and the plan's on a resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import driftback as db
from driftback.recipes import config as configs
from driftback.recipes.methods import METHODS
from driftback.recipes.prepare import prepare
from driftback.training.muon import Muon

FEW = {"n": 200, "steps": 20, "batch": 32}


def test_the_methods_of_papers_keep_adamw() -> None:
    assert {name for name, method in METHODS.items() if method.optimiser == "muon"} == {"corrected", "spikes"}
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for method, optimiser in (("spikes", "muon"), ("corrected", "muon"), ("edm", "adamw")):
        job = prepare(x, method=method, steps=2, batch=8, network="tiny")
        assert job.config.plan.optimiser == optimiser
        assert isinstance(job.state.optimiser, Muon) == (optimiser == "muon")
    few = {"steps": 2, "batch": 8}
    assert prepare(x, method="spikes", optimiser="adamw", **few).config.plan.optimiser == "adamw"
    assert prepare(x, method="spikes", network="dit-tiny", **few).config.plan.optimiser == "adamw"
    assert prepare(x, method="spikes", network="dit-tiny", optimiser="muon", **few).config.plan.optimiser == "muon"


def test_a_resume_keeps_to_its_optimiser(tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = prepare("two-moons", out=out, optimiser="muon", **FEW)
    for _ in job.run():
        pass
    job.finish()
    assert configs.read(out).plan.optimiser == "muon"
    with pytest.raises(db.BadInput, match="planned with optimiser muon, not adamw"):
        prepare("two-moons", out=out, resume=True, optimiser="adamw", n=200)
    with pytest.raises(db.BadInput, match="no optimiser 'sgd'; choose one of adamw, muon"):
        prepare("two-moons", optimiser="sgd", **FEW)
    path = out / "config.json"
    whole = path.read_text()
    path.write_text(whole.replace('"optimiser": "muon"', '"optimiser": "sgd"'))
    with pytest.raises(db.DamagedModel, match="weighting, times or optimiser that this driftback does not know"):
        configs.read(out)
    # Models that were fitted before there was a choice were fitted by AdamW.
    path.write_text(whole.replace('"optimiser": "muon",', ""))
    assert configs.read(out).plan.optimiser == "adamw"


def test_python_chooses_it() -> None:
    model = db.fit("two-moons", optimiser="muon", seed=0, **FEW)
    assert model.config.plan.optimiser == "muon"
