"""Would the tests notice? Plants the faults of `faults.toml` one by one, each in a copy, and tells which test saw it.

A suite of tests is as good as the faults that it rejects (DeMillo, Lipton and Sayward 1978, 'Hints on test data
selection'). Before a fault is planted, the tests that have to notice it must pass without it; a fault that no longer
applies, or that does not even import, counts as an error and never as caught. The working tree is only read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
PAGE = ROOT / "docs" / "faults.md"
HEAD = "## The list"
"""The heading of the page below which `--write` puts the table."""
SECONDS = 600
"""Tests that take longer than this have said nothing."""
OTHER = 99
"""The exit status for what pytest has none for."""

SLOW = "torch torch.nn scipy.integrate scipy.interpolate scipy.stats sklearn.ensemble sklearn.svm pytest"
"""What takes long to load: tests run in forks of a process that has done so. driftback itself is loaded anew."""

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(SLOW.split())


class Stale(Exception):
    """A fault that does not apply to the source, or tests that do not run as they are."""


@dataclass(frozen=True)
class Fault:
    """`find`, which occurs exactly once in `file` (below src/driftback), is replaced; `tests` are below tests/."""

    name: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    why: str

    def planted(self, source: str) -> str:
        """The source with the fault in it. Stale where the text is not found exactly once."""
        found = source.count(self.find)
        if found != 1:
            raise Stale(f"{self.name}: the text is found {found} times in {self.file}; write down what is there now")
        if self.find == self.replace:
            raise Stale(f"{self.name}: it changes nothing")
        return source.replace(self.find, self.replace)


@dataclass(frozen=True)
class Outcome:
    """What the tests said: `word` is caught, survived or broken, `by` the first test that failed."""

    fault: Fault
    word: str
    by: str
    seconds: float


def read(path: Path = LIST) -> list[Fault]:
    """The faults that are written down at `path`."""
    listed = tomllib.loads(path.read_text("utf-8"))["fault"]
    return [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in listed]


def session(folder: Path, tests: Sequence[str], said: Path) -> None:
    """Run `tests` of the copy in `folder` in this process, tell what they say in `said`, and leave with their status.

    Nothing of driftback is loaded yet; what else takes long to load may be.
    """
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.path.insert(0, str(folder / "src"))
    sys.dont_write_bytecode = True
    with said.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        import pytest

        import driftback

        if not Path(driftback.__file__).is_relative_to(folder):
            print(f"the tests would import {driftback.__file__}, not the copy with the fault")
            os._exit(OTHER)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", "--no-header"]
        status = int(pytest.main([*options, *(f"tests/{test}" for test in tests)]))
        sys.stdout.flush()
        os._exit(status)


class Copy:
    """Source and tests of `root` in a folder of their own, where a fault can be planted and taken out again."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder.resolve()
        for part in ("src", "tests"):
            shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(root / "pyproject.toml", folder)

    @contextmanager
    def holding(self, fault: Fault) -> Iterator[None]:
        """The copy with `fault` in it."""
        path = self.folder / "src" / "driftback" / fault.file
        source = path.read_text("utf-8")
        path.write_text(fault.planted(source), "utf-8")
        try:
            yield
        finally:
            path.write_text(source, "utf-8")

    def test(self, tests: Sequence[str], seconds: float) -> tuple[int, str]:
        """pytest's exit status on `tests`, and the first that failed, or the last line of what it said."""
        said = self.folder / "said"
        process = SERVER.Process(target=session, args=(self.folder, tuple(tests), said), daemon=True)
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return OTHER, f"nothing was said in {seconds:g} s"
        words = said.read_text("utf-8")
        failed = re.search(r"^(?:FAILED|ERROR) tests/(.*?)(?: - .*)?$", words, re.MULTILINE)
        lines = words.strip().splitlines()
        return int(process.exitcode or 0), failed[1] if failed else lines[-1] if lines else ""

    def judge(self, fault: Fault, seconds: float) -> Outcome:
        """Plant `fault`, run its tests, and take it out."""
        began = time.monotonic()
        with self.holding(fault):
            status, said = self.test(fault.tests, seconds)
        word = {0: "survived", 1: "caught"}.get(status, "broken")
        return Outcome(fault, word, "" if word == "survived" else said, time.monotonic() - began)


@contextmanager
def copies(root: Path, jobs: int) -> Iterator[SimpleQueue[Copy]]:
    """`jobs` copies of `root`, to be taken from a queue and put back."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        queue: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            queue.put(Copy(root, Path(folder) / str(number)))
        yield queue


def sound(queue: SimpleQueue[Copy], tests: Sequence[str], seconds: float) -> str:
    """What is wrong with `tests` where no fault is planted; empty if they pass."""
    copy = queue.get()
    try:
        status, said = copy.test(tests, seconds)
    finally:
        queue.put(copy)
    return "" if status == 0 else f"without any fault: {said}"


def judged(queue: SimpleQueue[Copy], fault: Fault, seconds: float) -> Outcome:
    """The outcome of `fault` in a free copy, told as soon as it is known."""
    copy = queue.get()
    try:
        outcome = copy.judge(fault, seconds)
    finally:
        queue.put(copy)
    print(f"{outcome.word:9}{outcome.seconds:6.1f} s  {fault.name}: {outcome.by or fault.why}", flush=True)
    return outcome


def by_file(faults: Sequence[Fault]) -> list[list[str]]:
    """All tests that `faults` name, once each, file by file; a file that is named whole stands for its tests."""
    named = {test for fault in faults for test in fault.tests}
    files = sorted({test.partition("::")[0] for test in named})
    return [
        [file] if file in named else sorted(test for test in named if test.startswith(f"{file}::")) for file in files
    ]


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table of the page: parameters of a test are left out."""
    lines = ["| Fault | What goes wrong | Caught by |", "|---|---|---|"]
    for o in outcomes:
        by = f"`{o.by.partition('[')[0]}`" if o.word == "caught" else f"**{o.word}**"
        lines.append(f"| {o.fault.name} | {o.fault.why} | {by} |")
    return "\n".join(lines)


def score(outcomes: Sequence[Outcome]) -> str:
    """How many were caught."""
    return f"caught {sum(o.word == 'caught' for o in outcomes)} of {len(outcomes)}"


def write(outcomes: Sequence[Outcome], page: Path = PAGE) -> None:
    """Put date, score and table into `page`, below its heading."""
    kept = page.read_text("utf-8").partition(f"{HEAD}\n")[0]
    page.write_text(f"{kept}{HEAD}\n\n{date.today()}: {score(outcomes)}.\n\n{table(outcomes)}\n", "utf-8")


def run(faults: Sequence[Fault], *, root: Path = ROOT, jobs: int = 2, seconds: float = SECONDS) -> list[Outcome]:
    """Plant all `faults` under `root`, `jobs` at a time. Stale if one does not apply, or tests fail without it."""
    for fault in faults:
        fault.planted((root / "src" / "driftback" / fault.file).read_text("utf-8"))
    with copies(root, jobs) as queue, ThreadPoolExecutor(jobs) as pool:
        wrong = [said for said in pool.map(lambda tests: sound(queue, tests, seconds), by_file(faults)) if said]
        if wrong:
            raise Stale("\n".join(wrong))
        return list(pool.map(lambda fault: judged(queue, fault, seconds), faults))


def main(words: Sequence[str] | None = None) -> int:
    """The command line; 0 if every fault was caught, 1 if one was not, 2 if nothing can be said."""
    parser = argparse.ArgumentParser(description="Plant faults in a copy of driftback, and see which tests notice.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the faults to plant; all of them without a name")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--write", action="store_true", help="put the result of all faults into docs/faults.md")
    asked = parser.parse_args(words)
    faults = read()
    unknown = set(asked.names) - {fault.name for fault in faults}
    if unknown:
        parser.error(f"no fault is called {', '.join(sorted(unknown))}")
    if asked.write and asked.names:
        parser.error("only the result of all faults is written down; leave the names out")
    try:
        outcomes = run([f for f in faults if not asked.names or f.name in asked.names], jobs=asked.jobs)
    except Stale as error:
        print(error, file=sys.stderr)
        return 2
    if asked.write:
        write(outcomes)
    print(score(outcomes))
    return 0 if all(o.word == "caught" for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
