"""A model's record: read back as written, migrated when it is older, refused in one line when it is damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

import driftback as db
from driftback.errors import DamagedModel
from driftback.recipes import config as configs


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    db.fit("two-moons", n=60, steps=1).save(tmp_path)
    return tmp_path


def rewritten(folder: Path, **facts: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_older_versions_are_migrated_step_by_step(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two planted migrations: version 0 called the method `recipe`, version -1 counted in thousands of items."""
    now = configs.read(saved)
    record = json.loads((saved / "config.json").read_text())
    record["recipe"] = record.pop("method")
    record["thousands"] = record.pop("items") / 1000
    (saved / "config.json").write_text(json.dumps(record | {"version": configs.VERSION - 2}))

    def counted(old: dict[str, Any]) -> dict[str, Any]:
        thousands = old.pop("thousands")
        return old | {"items": round(1000 * thousands), "version": configs.VERSION - 1}

    def renamed(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"method": old.pop("recipe"), "version": configs.VERSION}

    monkeypatch.setitem(configs.MIGRATIONS, configs.VERSION - 2, counted)
    monkeypatch.setitem(configs.MIGRATIONS, configs.VERSION - 1, renamed)
    found = configs.read(saved)
    assert found == now
    assert db.load(saved).sample(3, steps=2).shape == (3, 2)
    # Planted fault: a migration that forgets a step.
    monkeypatch.setitem(configs.MIGRATIONS, configs.VERSION - 2, lambda old: old)
    with pytest.raises(DamagedModel):
        configs.read(saved)


@pytest.mark.parametrize("version", [0, -3])
def test_a_version_that_nothing_leads_from_is_told(saved: Path, version: int) -> None:
    rewritten(saved, version=version)
    with pytest.raises(DamagedModel, match=f"version {version}, which this driftback cannot read any more") as caught:
        configs.read(saved)
    assert "\n" not in str(caught.value)


def test_every_version_before_this_one_has_its_migration() -> None:
    assert sorted(configs.MIGRATIONS) == list(range(1, configs.VERSION))
