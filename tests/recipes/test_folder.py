"""Only what driftback wrote is ever deleted, and a folder that a kill left half-made is no dead end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import driftback as db
from driftback.recipes import folder
from driftback.recipes.budget import LOOKED_AT, START, Judging, plan_within
from driftback.recipes.describe import describe
from driftback.recipes.prepare import prepare

OPTIONS = {"n": 100, "steps": 2}
GONE = subprocess.Popen([sys.executable, "-c", ""])
GONE.wait()
"""A process that has ended: its number is as good as free."""


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
@pytest.mark.parametrize(
    "left", [f".config.{GONE.pid}.part.json", "weights.safetensors", ".demo"], ids=["part", "weights", "demo"]
)
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
    (tmp_path / "training" / f".state.{GONE.pid}.part.safetensors").write_text("")
    # What another process is writing, and what only looks alike, stays.
    other = tmp_path / "training" / f".best.{os.getppid()}.part.safetensors"
    alike = tmp_path / "training" / ".my.parts.txt"
    for path in (other, alike):
        path.write_text("")
    prepare("two-moons", out=tmp_path, resume=True, **OPTIONS)
    assert names(tmp_path / "training") == {"state.safetensors", other.name, alike.name}


@pytest.mark.parametrize("name", [".partners.txt", ".my.part2", ".7.part", ".a.b.part.txt", ".config.7.part.json.txt"])
def test_a_hidden_file_of_others_is_never_deleted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    for force in (False, True):
        with pytest.raises(db.BadInput, match="which is no part of a model"):
            prepare("two-moons", out=tmp_path, force=force, **OPTIONS)
    folder.clear(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_deeper_folders_are_not_searched(tmp_path: Path) -> None:
    deep = tmp_path / "notes" / f".config.{GONE.pid}.part.json"
    deep.parent.mkdir()
    deep.write_text("mine")
    folder.clear(tmp_path)
    assert deep.read_text() == "mine"


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    """The second is refused in one line, and leaves what the first writes alone."""
    program = (
        "import sys\nfrom driftback.recipes.prepare import prepare\n"
        "run = prepare('two-moons', out=sys.argv[1], n=100, steps=100).run()\n"
        "next(run)\nprint('training', flush=True)\nsys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "training\n"
    for options in ({"resume": True, "n": 100}, {"force": True, **OPTIONS}):
        with pytest.raises(db.BadInput, match="another driftback is training in") as caught:
            prepare("two-moons", out=tmp_path, **options)
        assert "\n" not in str(caught.value)
    assert "config.json" in names(tmp_path)
    first.kill()
    first.wait()
    # A killed training holds nothing.
    prepare("two-moons", out=tmp_path, resume=True, n=100)
    first.communicate()


def test_a_resume_keeps_to_its_plan(tmp_path: Path) -> None:
    prepare("two-moons", out=tmp_path, seed=3, **OPTIONS).save()
    assert prepare("two-moons", out=tmp_path, resume=True, n=100).config.plan.seed == 3
    others = [{"steps": 5}, {"seed": 4}, {"seed": 0}, {"method": "flow"}, {"batch": 7}, {"learning_rate": 0.5}]
    for other in (*others, {"held_out": 0.5}, {"held_out": 0}):
        with pytest.raises(db.BadInput, match=f"planned with {next(iter(other))} .* leave --{next(iter(other))[:4]}"):
            prepare("two-moons", out=tmp_path, resume=True, n=100, **other)


def test_a_resume_says_that_minutes_change_nothing(tmp_path: Path) -> None:
    prepare("two-moons", out=tmp_path, **OPTIONS).save()
    job = prepare("two-moons", out=tmp_path, resume=True, n=100, minutes=3)
    assert "3 minutes change nothing: 2 steps were planned at the start" in job.said
    assert not any("minutes" in line for line in prepare("two-moons", out=tmp_path, resume=True, n=100).said)


@pytest.mark.parametrize("finished", [True, False])
def test_a_resume_without_its_state_trains_nothing_away(tmp_path: Path, finished: bool) -> None:
    job = prepare("two-moons", out=tmp_path, **OPTIONS)
    for _ in job.run():
        if not finished:
            break
    if finished:
        job.finish()
    else:
        job.save()
    weights = (tmp_path / "weights.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "training")
    with pytest.raises(db.DamagedModel, match=r"state\.safetensors is missing.* start again with --force"):
        prepare("two-moons", out=tmp_path, resume=True, n=100)
    assert (tmp_path / "weights.safetensors").read_bytes() == weights
    prepare("two-moons", out=tmp_path, force=True, **OPTIONS)


@pytest.mark.parametrize("name", ["weights", "training/best"])
def test_a_model_before_its_first_checkpoint_says_how_to_go_on(tmp_path: Path, name: str) -> None:
    out = tmp_path / "a run"
    prepare("two-moons", out=out, **OPTIONS)
    told = rf"{name}\.safetensors is missing, .* driftback fit two-moons --out '{out}' --resume, or copy"
    with pytest.raises(db.DamagedModel, match=told):
        db.load(out, checkpoint="best" if "best" in name else "last")
    job = prepare("two-moons", out=out, resume=True, n=100)
    for _ in job.run():
        pass
    job.finish()
    db.load(out)
    (out / "training" / "best.safetensors").unlink()
    with pytest.raises(db.DamagedModel, match=r"best\.safetensors is missing; use the last checkpoint"):
        db.load(out, checkpoint="best")
    assert prepare("two-moons", out=out, resume=True, n=100).finished is not None
    (out / "weights.safetensors").unlink()
    again = prepare("two-moons", out=out, resume=True, n=100)
    assert again.finished is None
    again.finish()
    db.load(out)


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
    assert one == two == 5188


def test_a_measured_rate_plans_the_same_steps_while_it_is_near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The clock is real but for its reading: 10, 12 and 20 ms per step."""
    from driftback.training import speed

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    steps = []
    for reading in (0.010, 0.012, 0.020):
        monkeypatch.setattr(speed.statistics, "quantiles", lambda times, n, reading=reading: [reading])
        steps.append(prepare("two-moons", n=6000, minutes=1.0).config.plan.steps)
    assert steps == [5188, 5188, 2588]


def test_seeds_out_of_range_are_refused() -> None:
    for seed in (-1, 1 << 63):
        with pytest.raises(db.BadInput, match="seed"):
            db.fit("two-moons", seed=seed, **OPTIONS)


def test_save_writes_where_load_reads_and_says_how_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    job = prepare("two-moons", n=100, steps=4)
    next(iter(job.run()))
    job.model.save("~/early")
    for _ in job.run():
        pass
    job.finish()[0].save("~/late")
    assert names(tmp_path) == {"home"}
    assert [describe(tmp_path / "home" / name)["steps_done"] for name in ("early", "late")] == [1, 4]
    db.load("~/early").save("~/copy")
    assert describe(tmp_path / "home" / "copy")["steps_done"] == 1


@pytest.mark.parametrize("per_step", [0.001, 0.02, 0.3, 1.0, 2.1])
@pytest.mark.parametrize("seconds", [30.0, 84.0, 600.0])
def test_judging_fits_into_the_budget(seconds: float, per_step: float) -> None:
    steps, judging = plan_within(seconds, per_step, 128, held_out=1200, preview=64 * 23, bound=True)
    each = LOOKED_AT * per_step / 128
    looking = each * (24 * judging.measured + judging.previews * 64 * 23 + 33 * judging.judged)
    # At least 10 steps are planned whatever the budget: 2.1 seconds each leave 9 of 30.
    assert steps == 10 or steps * per_step + looking + START <= seconds
    if per_step < 0.02:
        assert judging == Judging()
    # Planted fault: looking as much as there is time for in a long training.
    if per_step > 0.3 and seconds < 100:
        assert each * (24 * 512 + 6 * 64 * 23 + 33 * 1024) > seconds
