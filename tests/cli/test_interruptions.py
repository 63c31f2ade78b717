"""Killed at any moment, stopped by Ctrl-C, run twice: the weights at the end are the same, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from driftback.cli.stopping import stoppable
from driftback.data.loading import load as load_data
from driftback.files import read_tensors, write_tensors
from driftback.recipes.job import Job
from driftback.recipes.prepare import prepare

STEPS = 240
WORDS = ("two-moons", "--n", "300", "--batch", "64", "--steps", str(STEPS))
STATE = Path("training") / "state.safetensors"


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from driftback.cli.app import main; main()", "fit", *WORDS, "--out", str(out)]
    return subprocess.Popen(
        [*command, "--checkpoint-seconds", "0.05", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def step_of(out: Path) -> int:
    return read_tensors(out / STATE)[1]["step"] if (out / STATE).is_file() else 0


def interrupt(process: subprocess.Popen[str], out: Path, number: int, after: float) -> tuple[int, str, str]:
    """Send a signal `after` seconds past the first new checkpoint, while the training runs."""
    before = (out / STATE).stat().st_mtime_ns if (out / STATE).is_file() else 0
    for _ in range(6000):
        if (out / STATE).is_file() and (out / STATE).stat().st_mtime_ns != before:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(after)
    os.kill(process.pid, number)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


@pytest.fixture(scope="module")
def undisturbed(cli, digest, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("undisturbed") / "x"
    assert cli("fit", *WORDS, "--out", out, "--quiet").code == 0
    return digest(out)


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory) -> Path:
    """A training that was killed, stopped and terminated, and has not reached its end."""
    out = tmp_path_factory.mktemp("disturbed") / "x"
    delays = np.random.Generator(np.random.Philox(4)).uniform(0, 0.25, 3)
    code, _, _ = interrupt(start(out), out, signal.SIGKILL, delays[0])
    assert code == -signal.SIGKILL
    code, said, complained = interrupt(start(out, "--resume"), out, signal.SIGINT, delays[1])
    assert (code, said) == (130, "")
    assert f"saved at step {step_of(out)}; go on with: driftback fit two-moons --out {out} --resume" in complained
    assert "Traceback" not in complained
    code, said, complained = interrupt(start(out, "--resume", "--json"), out, signal.SIGTERM, delays[2])
    assert (code, said) == (143, "")
    assert "saved at step" in complained
    assert 0 < step_of(out) < STEPS
    return out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A training that was stopped once."""
    out = tmp_path_factory.mktemp("stopped") / "x"
    assert interrupt(start(out), out, signal.SIGINT, 0.0)[0] == 130
    return out


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(cli, digest, disturbed, undisturbed, tmp_path) -> None:
    out = shutil.copytree(disturbed, tmp_path / "x")
    # As Ctrl-C said: without the options that the data were read with.
    result = cli("fit", "two-moons", "--out", out, "--resume", "--json")
    assert result.code == 0
    assert result.json["samples_seen"] == STEPS * 64
    assert "going on from step" in result.err
    assert digest(out) == undisturbed
    steps = [json.loads(line).get("step") for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [step for step in steps if step] == sorted(step for step in steps if step)
    assert len(set(steps)) - 1 == 12  # every measurement once, however often the training was killed
    assert not list(out.rglob("*.part*"))


@pytest.mark.slow
def test_a_resume_that_forgets_is_seen(cli, digest, disturbed, undisturbed, tmp_path) -> None:
    """The planted fault: the optimiser's moments are lost between two halves."""
    out = shutil.copytree(disturbed, tmp_path / "x")
    tensors, about = read_tensors(out / STATE)
    forgotten = {name: torch.zeros_like(t) if "exp_avg" in name else t for name, t in tensors.items()}
    assert any("exp_avg" in name for name in tensors)
    write_tensors(out / STATE, forgotten, about)
    assert cli("fit", "two-moons", "--out", out, "--resume", "--quiet").code == 0
    assert digest(out) != undisturbed


@pytest.mark.parametrize("name", [str(STATE), "config.json"])
def test_a_file_cut_short_is_named(cli, stopped, tmp_path, name) -> None:
    """The planted fault: a file written in place, and the machine stopped half-way."""
    out = shutil.copytree(stopped, tmp_path / "x")
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole[: len(whole) // 2])
    result = cli("fit", "two-moons", "--out", out, "--resume")
    assert result.code == 3
    assert str(out / name) in result.error
    assert "damaged" in result.error


def test_a_changed_byte_is_named(cli, stopped, tmp_path) -> None:
    out = shutil.copytree(stopped, tmp_path / "x")
    path = out / "weights.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-5] ^= 1
    path.write_bytes(changed)
    result = cli("sample", out, "--out", tmp_path / "x.npy")
    assert result.code == 3
    assert str(path) in result.error
    assert "SHA-256" in result.error
    assert not (tmp_path / "x.npy").exists()
    assert cli("info", out, "--json").json["files"]["weights.safetensors"].startswith("damaged")


def test_the_second_interruption_stops_at_once() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would the test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # raise_signal: a signal to the process may be taken by another thread, and the main one hears of it later.
        with stoppable() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop()
            assert stop.code == 130
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_first_interruption_after_the_last_step_stops_at_once(cli, digest, undisturbed, tmp_path, number) -> None:
    usual = Job.finish

    def finish(job: Job):
        os.kill(os.getpid(), number)
        return usual(job)

    out = tmp_path / "x"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "finish", finish)
        result = cli("fit", *WORDS, "--out", out)
    assert (result.code, result.out) == (128 + number, "")
    assert "stopped after the last step, before the held-out likelihood was known" in result.err
    assert f"go on with: driftback fit two-moons --out {out} --resume" in result.err
    result = cli("fit", "two-moons", "--out", out, "--resume", "--json")
    assert result.json["samples_seen"] == STEPS * 64
    assert digest(out) == undisturbed


@pytest.mark.slow
def test_a_demo_killed_before_its_mark_is_replaced(cli, tmp_path, monkeypatch) -> None:
    few = load_data("digits", n=150)
    monkeypatch.setattr("driftback.data.builtin._digits", lambda: few)
    out = tmp_path / "demo"
    words = ("demo", "--out", out, "--steps", 1, "--n", 64, "--quiet")
    prepare("digits", out=out, steps=1)
    assert cli(*words).code == 0
    (out / ".demo").unlink()
    assert "--force" in cli(*words).error, "a model without the mark is someone's"


@pytest.mark.parametrize("which", ["few", pytest.param("all", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_at_any_operation_on_its_files(tmp_path, which) -> None:
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path / "home"), which]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["code"] == 0
    assert found["bad"] == {}
    assert found["kills"] >= (6 if which == "few" else found["operations"])
    assert any("metrics.jsonl" in where for where in found["died"])
    assert any("weights" in where for where in found["died"])
    assert any("state" in where for where in found["died"])
    assert any("snapshots" in where for where in found["died"])
