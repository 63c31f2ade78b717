"""The list of faults is up to date, and the script that plants them tells a suite that sees from one that is blind."""

import importlib.util
import multiprocessing
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FEWEST = 60


@pytest.fixture(scope="module")
def plant() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        spec = importlib.util.spec_from_file_location("plant", HERE / "plant.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "plant", module)
        spec.loader.exec_module(module)
        # What the small project below needs is loaded at once, and nothing has to be kept for many forks.
        patch.setattr(module, "SERVER", multiprocessing.get_context("spawn"))
        yield module


def test_every_fault_applies_and_compiles(plant) -> None:
    faults = plant.read()
    assert len(faults) >= FEWEST
    assert len({fault.name for fault in faults}) == len(faults)
    for fault in faults:
        source = (ROOT / "src" / "driftback" / fault.file).read_text("utf-8")
        planted = fault.planted(source)
        assert planted != source
        compile(planted, fault.file, "exec")


def test_every_fault_names_tests_that_exist(plant) -> None:
    for fault in plant.read():
        for test in fault.tests:
            file, _, name = test.partition("::")
            assert f"def {name.split('::')[-1].partition('[')[0]}" in (ROOT / "tests" / file).read_text("utf-8")


def test_every_sampler_has_faults(plant) -> None:
    """A new file among the samplers belongs on the list; these hold names, a protocol or frames, and no mathematics."""
    files = {path.name for path in (ROOT / "src" / "driftback" / "samplers").glob("*.py")}
    listed = {Path(fault.file).name for fault in plant.read() if fault.file.startswith("samplers/")}
    assert files - listed == {"__init__.py", "frame.py", "published.py"}


def test_the_page_shows_the_list_and_its_score(plant) -> None:
    page = plant.PAGE.read_text("utf-8")
    names = re.findall(r"^\| (.+?) \| [^|]+ \| `", page, re.MULTILINE)
    assert names == [fault.name for fault in plant.read()]
    assert f": caught {len(names)} of {len(names)}." in page


@pytest.fixture
def small(tmp_path) -> Path:
    """A project of one function and one test."""
    for folder in ("src/driftback", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("", "utf-8")
    (tmp_path / "src/driftback/__init__.py").write_text("", "utf-8")
    (tmp_path / "src/driftback/two.py").write_text("def two(x):\n    return 2 * x  # twice\n", "utf-8")
    (tmp_path / "tests/test_two.py").write_text(
        "from driftback.two import two\n\ndef test_two():\n    assert two(3) == 6\n", "utf-8"
    )
    return tmp_path


@pytest.fixture
def doubled(plant):
    return plant.Fault("three", "two.py", "2 * x", "3 * x", ("test_two.py",), "x is tripled")


def test_a_fault_that_no_test_notices_survives(plant, small, doubled) -> None:
    comment = replace(doubled, name="comment", find="# twice", replace="# two times")
    late = replace(doubled, name="no module", find="return 2", replace="return return 2")
    source = (small / "src/driftback/two.py").read_text("utf-8")
    outcomes = plant.run([doubled, comment, late], root=small)
    assert [outcome.word for outcome in outcomes] == ["caught", "survived", "broken"]
    assert outcomes[0].by == "test_two.py::test_two"
    assert plant.score(outcomes) == "caught 1 of 3"
    assert "| **survived** |" in plant.table(outcomes)
    assert (small / "src/driftback/two.py").read_text("utf-8") == source, "the tree itself is never changed"


def test_the_exit_status_tells_whether_all_were_caught(plant, doubled, monkeypatch) -> None:
    monkeypatch.setattr(plant, "read", lambda: [doubled])
    for word, status in (("caught", 0), ("survived", 1), ("broken", 1)):
        monkeypatch.setattr(plant, "run", lambda faults, word=word, **kept: [plant.Outcome(doubled, word, "t", 0.0)])
        assert plant.main([]) == status
    with pytest.raises(SystemExit):
        plant.main(["no such fault"])


def test_a_fault_that_no_longer_applies_is_an_error(plant, small, doubled) -> None:
    for wrong in (replace(doubled, find="4 * x"), replace(doubled, find="x"), replace(doubled, replace="2 * x")):
        with pytest.raises(plant.Stale, match="three"):
            plant.run([wrong], root=small)


def test_tests_that_fail_anyway_catch_nothing(plant, small, doubled) -> None:
    (small / "tests/test_two.py").write_text("def test_two():\n    assert False\n", "utf-8")
    with pytest.raises(plant.Stale, match="without any fault"):
        plant.run([doubled], root=small)


def test_tests_that_say_nothing_catch_nothing(plant, small, doubled) -> None:
    endless = replace(doubled, find="return 2 * x", replace="while True: pass")
    with plant.copies(small, 1) as queue:
        assert plant.judged(queue, endless, 3.0).word == "broken"


def test_tests_are_run_once_without_a_fault(plant, doubled) -> None:
    faults = [replace(doubled, tests=tests) for tests in (("a.py",), ("a.py::x", "b.py::x"), ("b.py::y", "b.py::x"))]
    assert plant.by_file(faults) == [["a.py"], ["b.py::x", "b.py::y"]]


def test_the_page_is_written_below_its_heading(plant, doubled, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Faults\n\nkept\n\n{plant.HEAD}\n\nold\n", "utf-8")
    plant.write([plant.Outcome(doubled, "caught", "test_two.py::test_two[1-2]", 1.0)], page)
    text = page.read_text("utf-8")
    assert text.startswith(f"# Faults\n\nkept\n\n{plant.HEAD}\n\n")
    assert "old" not in text
    assert ": caught 1 of 1." in text
    assert "| three | x is tripled | `test_two.py::test_two` |" in text


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_fault_is_caught(plant, monkeypatch) -> None:
    monkeypatch.setattr(plant, "SERVER", multiprocessing.get_context("forkserver"))
    assert plant.main([]) == 0
