"""The worked examples of docs/extend: the line that each shows is put into its dictionary, and the contract is run.

The file of the contract is read with that very line in it, so whatever the file derives from its dictionary has the new
part too. A part that is wrong has to fail there.
"""

import inspect
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[1]


def example(name, tmp_path, monkeypatch):
    """What the page defines, and the key, the file and the dictionary of its line."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "extend" / name
    (shown,) = re.findall(r"```text\n(\w+) = \{  # (\S+)\n    (.*)\n```", page.read_text("utf-8"))
    document = Sybil([PythonCodeBlockParser()]).parse(page)
    for block in document.examples():
        if re.search(r"^(class|def) ", str(block.parsed), re.MULTILINE):  # what else it says is run with the docs
            block.evaluate()
    return document.namespace, shown


def contract(shown, defined, monkeypatch):
    """The test file of the contract with the shown line in its dictionary."""
    dictionary, path, line = shown
    source = (ROOT / path).read_text("utf-8")
    changed = re.sub(rf"^({dictionary} = {{)", lambda found: f"{found[1]}{line}", source, count=1, flags=re.MULTILINE)
    assert changed != source
    module = ModuleType(f"contract_of_{dictionary.lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update({name: value for name, value in defined.items() if not name.startswith("__")})
    exec(compile(changed, str(ROOT / path), "exec"), module.__dict__)
    return module


def run(module, given, about):
    """Call every test of `module` that takes one of `about` and nothing that is not `given`; how many these were."""
    count = 0
    for name, test in vars(module).items():
        wanted = set(inspect.signature(test).parameters) if name.startswith("test_") else set()
        if wanted & about and wanted <= given.keys():
            test(**{parameter: given[parameter] for parameter in wanted})
            count += 1
    return count


def given_a_sampler(module, make):
    process = module.Diffusion(module.SCHEDULES["vp"](), (2,))
    return {
        "name": "midpoint",
        "make": make,
        "denoiser": module.ExactDenoiser(process, module.TARGET),
        "dtype": torch.float32,
        "schedule": "straight",
        "times": [0.9, 0.5, 0.5, 0.0],
    }


def test_the_worked_sampler_keeps_the_contract(tmp_path, monkeypatch) -> None:
    defined, shown = example("sampler.md", tmp_path, monkeypatch)
    module = contract(shown, defined, monkeypatch)
    assert "midpoint" in module.SINGULAR
    assert run(module, given_a_sampler(module, module.SAMPLERS["midpoint"]), {"name", "make"}) >= 10

    class Coupled(module.Midpoint):
        """A planted fault: points that know how many others there are."""

        def __call__(self, x, times, *, rng=None):
            for frame in super().__call__(x, times, rng=rng):
                yield replace(frame, x=frame.x + 1e-3 * len(x)) if frame.evaluations else frame

    with pytest.raises(AssertionError):
        run(module, given_a_sampler(module, Coupled), {"make"})


def test_the_worked_process_keeps_the_contract(tmp_path, monkeypatch) -> None:
    defined, shown = example("process.md", tmp_path, monkeypatch)
    module = contract(shown, defined, monkeypatch)
    assert run(module, {"name": "geometric"}, {"name"}) >= 3
    for derived in ("geometric, back", "geometric, flow"):
        module.test_an_sde_keeps_its_contract(derived)

    # A planted fault: as much noise as data where there should be none.
    monkeypatch.setitem(module.PROCESSES, "noisy", lambda: module.Diffusion(module.Geometric(low=1.0), (2,)))
    with pytest.raises(AssertionError):
        module.test_a_process_keeps_its_contract("noisy")


def test_the_worked_kind_of_data_keeps_the_contract(tmp_path, monkeypatch) -> None:
    from driftback.data import loading

    defined, shown = example("data.md", tmp_path, monkeypatch)
    module = contract(shown, defined, monkeypatch)
    before = loading.READERS
    with pytest.raises(module.BadInput, match="cannot read"):
        run(module, {"source": module.SOURCES["rows"], "tmp_path": tmp_path}, {"source"})
    monkeypatch.setattr(loading, "READERS", (defined["READER"], *before))
    assert run(module, {"source": module.SOURCES["rows"], "tmp_path": tmp_path}, {"source"}) == 1
    for text, said in (("1 2\n", "before the first name"), ("> a\n1 x\n", "no number in line 2")):
        (tmp_path / "bad.rows").write_text(text)
        with pytest.raises(module.BadInput, match=said):
            module.load(tmp_path / "bad.rows")
