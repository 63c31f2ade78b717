"""Run by `test_interruptions`: fits that die at the k-th operation on their files, each resumed, and what they came to.

An audit hook sees every open, rename, removal, new folder and fsync below the folder, and leaves with `os._exit`
instead of the k-th, as a kill would. Children are forked, so that torch is imported once. Arguments: a folder, and
"few" or "all". Prints one JSON object.
"""

import io
import json
import os
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path

import torch

import driftback.pictures.preview
import driftback.recipes.fit
from driftback.cli.app import _run
from driftback.files import read_tensors

FIT = ["two-moons", "--n", "60", "--batch", "16", "--steps", "3", "--quiet", "--checkpoint-seconds", "0"]
FIT += ["--snapshots", "--times", "importance"]  # with all that a state may hold
RESUME = ["two-moons", "--quiet", "--checkpoint-seconds", "0", "--resume"]
SEEN = {"open", "os.rename", "os.remove", "os.mkdir", "os.fsync", "shutil.rmtree"}
HOME = Path(sys.argv[1])


def child(words: list[str], out: Path, last: int | None = None) -> tuple[int, list[str]]:
    """The exit status of a fit in a process of its own that dies at operation `last`, and its operations by name."""
    told = HOME / "told"
    told.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        done: list[str] = []

        def hook(event: str, arguments: tuple) -> None:
            if event in SEEN and (event == "os.fsync" or str(out) in str(arguments[0])):
                done.append(event if event == "os.fsync" else f"{event} {Path(str(arguments[0])).relative_to(out)}")
                if len(done) == last:
                    os._exit(9)

        sys.addaudithook(hook)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = _run(["fit", *words, "--out", str(out)])
        listed = list(done)
        told.write_text(json.dumps(listed))
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, json.loads(told.read_text()) if told.is_file() else []


def ended(out: Path) -> dict:
    """What a fit came to: weights, best step, snapshots, the kinds in its log, its files."""
    tensors, _ = read_tensors(out / "weights.safetensors")
    best, about = read_tensors(out / "training" / "best.safetensors")
    kept = [read_tensors(path)[0] for path in sorted((out / "training" / "snapshots").iterdir())]
    log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": [sha256(t.numpy().tobytes()).hexdigest() for t in [*tensors.values(), *best.values()]],
        "best": about,
        "snapshots": [sha256(t.numpy().tobytes()).hexdigest() for one in kept for t in one.values()],
        "log": [(record["kind"], record.get("step")) for record in log],
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*")),
    }


def killed(k: int, again: int | None, expected: dict) -> str:
    """What differs when a fit is killed at `k`, and its resume at `again`; empty if nothing does."""
    out = HOME / f"killed-{k}-{again}"
    code, _ = child(FIT, out, k)
    if code != 9:
        return f"was not killed: {code}"
    if again is not None:
        child(RESUME if (out / "config.json").exists() else [*FIT, "--resume"], out, again)
    code, _ = child(RESUME if (out / "config.json").exists() else [*FIT, "--resume"], out)
    found = ended(out) if code == 0 else {"code": code}
    shutil.rmtree(out)
    return ", ".join(name for name in {**expected, **found} if expected.get(name) != found.get(name))


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[2] == "few":
        driftback.recipes.job.Job._preview = lambda self, step: None
    HOME.mkdir()
    # What a fit imports late is imported here, once, instead of in every child.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        _run(["fit", *FIT, "--out", str(HOME / "first")])
    code, operations = child(FIT, HOME / "whole")
    expected, total = ended(HOME / "whole"), len(operations)
    pairs: list[tuple[int, int | None]]
    if sys.argv[2] == "all":
        pairs = [(k, None) for k in range(1, total + 1)] + [(k, 5 + k % 23) for k in range(1, total + 1, 3)]
    else:
        # Inside a write of the state, between it and the weights, in a measurement, in a snapshot, in finish, and again
        # in a resume.
        state = [k for k, what in enumerate(operations, 1) if "os.rename" in what and "state" in what]
        weights = [k for k, what in enumerate(operations, 1) if "open .weights" in what]
        measured = [k for k, what in enumerate(operations, 1) if what == "open metrics.jsonl"]
        snapshot = [k for k, what in enumerate(operations, 1) if "os.rename" in what and "snapshots" in what]
        pairs = [(state[1] - 1, None), (weights[1], None), (measured[2], None), (snapshot[1], None), (total, None)]
        pairs.append((state[0] + 1, 9))
    bad = {f"{k} {operations[k - 1]} {again}": said for k, again in pairs if (said := killed(k, again, expected))}
    died = [operations[k - 1] for k, _ in pairs]
    print(json.dumps({"code": code, "operations": total, "kills": len(pairs), "bad": bad, "died": died}))


if __name__ == "__main__":
    main()
