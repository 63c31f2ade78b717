"""Two small models that the tests of the command line share, and a way to call it without a new process."""

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftback.cli.app import main
from driftback.files import read_tensors

MOONS = ("two-moons", "--n", "300", "--batch", "64")
DIGITS = ("digits", "--n", "150", "--batch", "8")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """Standard output, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert self.out.count("\n") == 1
        return found

    @property
    def error(self) -> str:
        """The one line on standard error that tells what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("driftback: error: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0])
        assert "Traceback" not in self.err
        assert "our mistake" not in self.err
        return lines[0]


def run_cli(*words: object) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return Result(int(left.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def cli() -> Callable[..., Result]:
    return run_cli


@pytest.fixture(scope="session")
def fits(tmp_path_factory) -> dict[str, Result]:
    """What `fit --json` said, by model; `moons` and `digits` give the folders."""
    home = tmp_path_factory.mktemp("runs")
    return {
        "moons": run_cli("fit", *MOONS, "--steps", 3, "--out", home / "moons", "--json"),
        "digits": run_cli("fit", *DIGITS, "--steps", 2, "--out", home / "digits", "--json"),
    }


@pytest.fixture(scope="session")
def moons(fits) -> Path:
    return Path(fits["moons"].json["model"])


@pytest.fixture(scope="session")
def digits(fits) -> Path:
    return Path(fits["digits"].json["model"])


def weights_digest(run: Path) -> str:
    """The SHA-256 of the weights in `run`, by name; not of the file, whose header holds facts too."""
    tensors, _ = read_tensors(run / "weights.safetensors")
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].numpy().tobytes())
    return found.hexdigest()


@pytest.fixture(scope="session")
def digest() -> Callable[[Path], str]:
    return weights_digest
