"""Only what driftback wrote is ever deleted, and a folder that a kill left half-made is no dead end."""

from pathlib import Path

import pytest

import driftback as db
from driftback.recipes import folder
from driftback.recipes.prepare import prepare

OPTIONS = {"n": 100, "steps": 2}


def names(path: Path) -> set[str]:
    return {p.name for p in path.iterdir()}


@pytest.mark.parametrize("foreign", ["model.safetensors", "photo.png", "notes", ".git"])
def test_a_folder_of_others_is_never_deleted(tmp_path: Path, foreign: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unet"}')
    (tmp_path / foreign).mkdir()
    for force in (False, True):
        with pytest.raises(db.BadInput, match=f"{foreign.replace('.', '[.]')}, which is no part of a model"):
            prepare("two-moons", out=tmp_path, force=force, **OPTIONS)
    assert names(tmp_path) == {"config.json", foreign}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", [".config.7.part.json", "weights.safetensors", ".demo"])
def test_what_a_kill_left_counts_as_empty(tmp_path: Path, left: str, resume: bool) -> None:
    (tmp_path / left).write_text("")
    prepare("two-moons", out=tmp_path, resume=resume, **OPTIONS)
    assert names(tmp_path) == {"config.json"}


def test_a_model_is_replaced_only_with_force(tmp_path: Path) -> None:
    prepare("two-moons", out=tmp_path, **OPTIONS)
    (tmp_path / "previews").mkdir()
    with pytest.raises(db.BadInput, match="--resume"):
        prepare("two-moons", out=tmp_path, **OPTIONS)
    prepare("two-moons", out=tmp_path, force=True, **OPTIONS)
    assert names(tmp_path) == {"config.json"}


def test_config_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while a model is deleted must not leave its config, which a resume would go on with."""
    prepare("two-moons", out=tmp_path, **OPTIONS)
    (tmp_path / "weights.safetensors").write_text("")
    gone: list[str] = []
    usual = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        gone.append(self.name)
        usual(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    folder.clear(tmp_path)
    assert gone[0] == "config.json"
    assert "weights.safetensors" in gone


def test_stale_parts_are_swept_on_resume(tmp_path: Path) -> None:
    job = prepare("two-moons", out=tmp_path, **OPTIONS)
    job.save()
    (tmp_path / "training" / ".state.99.part.safetensors").write_text("")
    prepare("two-moons", out=tmp_path, resume=True, **OPTIONS)
    assert names(tmp_path / "training") == {"state.safetensors"}


def test_a_resume_keeps_to_its_plan(tmp_path: Path) -> None:
    prepare("two-moons", out=tmp_path, seed=3, **OPTIONS).save()
    assert prepare("two-moons", out=tmp_path, resume=True, n=100).config.plan.seed == 3
    for other in ({"steps": 5}, {"seed": 4}, {"method": "flow"}, {"batch": 7}, {"learning_rate": 0.5}):
        with pytest.raises(db.BadInput, match=f"planned with {next(iter(other))} .* leave --{next(iter(other))[:5]}"):
            prepare("two-moons", out=tmp_path, resume=True, n=100, **other)


def test_a_line_that_a_kill_broke_off_is_cut(tmp_path: Path) -> None:
    job = prepare("two-moons", out=tmp_path, **OPTIONS)
    for _ in job.run():
        pass
    job.finish()
    log = tmp_path / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"kind": "st')
    prepare("two-moons", out=tmp_path, resume=True, n=100)
    assert log.read_text() == whole


def test_one_budget_plans_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from driftback.recipes import prepare as module

    monkeypatch.setattr(module, "seconds_per_step", lambda *given, **options: 0.01)
    one, two = (prepare("two-moons", n=6000, minutes=1.0).config.plan.steps for _ in range(2))
    assert one == two == 4300


def test_seeds_out_of_range_are_refused() -> None:
    for seed in (-1, 1 << 63):
        with pytest.raises(db.BadInput, match="seed"):
            db.fit("two-moons", seed=seed, **OPTIONS)
