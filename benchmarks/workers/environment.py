"""The rivals' environment, and a worker process per library that does what it is asked and answers in JSON.

driftback's workers run under the Python that started the benchmark, the rivals' in `.venv-rivals`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ENVIRONMENT = HERE.parent / ".venv-rivals"
OURS = "driftback"


class Worker:
    """A library's process: the module `workers.<module>`, by default the one with the library's name."""

    def __init__(self, name: str, threads: int, module: str | None = None) -> None:
        self.name = name
        python = sys.executable if name == OURS else ENVIRONMENT / "bin" / "python"
        # Nothing but the number of threads is set: each library meets torch as its user would.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [python, "-m", f"workers.{module or name}", str(threads)],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **task: object) -> dict:
        """The worker's answer to a task. Exits with one line when the worker has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(task), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            sys.exit(f"the worker for {self.name} ended; what it said is above")
        return json.loads(answer)


def prepare_environment() -> None:
    """Make the rivals' environment if it is not there: driftback with its pinned dependencies, then the rivals."""
    python = ENVIRONMENT / "bin" / "python"
    stamp, asked = ENVIRONMENT / ".installed", HERE / "rivals.txt"
    if stamp.exists() and stamp.stat().st_mtime > asked.stat().st_mtime:
        return
    print(f"making {ENVIRONMENT.name} (a few minutes the first time)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    (ENVIRONMENT / ".gitignore").write_text("*\n")
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    pinned = ["-c", "constraints.txt"]
    subprocess.run([*pip, *pinned, "setuptools"], cwd=HERE.parent, check=True)
    subprocess.run([*pip, *pinned, "--no-build-isolation", "-e", "."], cwd=HERE.parent, check=True)
    # Some of them ask for packages that only their examples use, torchvision among them.
    subprocess.run([*pip, "--no-deps", "-r", asked], cwd=HERE.parent, check=True)
    stamp.touch()
