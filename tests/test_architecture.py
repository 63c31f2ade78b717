"""The house's own rules: which room may know which, what no file may do, and how files look.

Each rule is also given code that breaks it, and must say so.
"""

import ast
import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import driftback

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "driftback"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(module.name for module in pkgutil.iter_modules(driftback.__path__, "driftback.") if module.ispkg)

LINES = 300
VAGUE = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
MODULES = {
    "pickle": "no pickle",
    "cloudpickle": "no pickle",
    "dill": "no pickle",
    "joblib": "no pickle",
    "marshal": "no pickle",
    "shelve": "no pickle",
    "torch.hub": "no network",
    "aiohttp": "no network",
    "http": "no network",
    "httpx": "no network",
    "requests": "no network",
    "socket": "no network",
    "urllib.request": "no network",
    "urllib3": "no network",
    "random": "no global randomness",
    "torchvision": "not a dependency",
    "torchaudio": "not a dependency",
}
CALLS = {
    "torch.load": "no pickle",
    "torch.save": "no pickle",
    "torch.manual_seed": "no global randomness",
    "torch.seed": "no global randomness",
    "torch.random.manual_seed": "no global randomness",
    "torch.random.seed": "no global randomness",
    "torch.set_rng_state": "no global randomness",
    "torch.random.set_rng_state": "no global randomness",
    "torch.random.default_generator.manual_seed": "no global randomness",
    "torch.random.default_generator.set_state": "no global randomness",
    "torch.default_generator.manual_seed": "no global randomness",
    "torch.default_generator.set_state": "no global randomness",
    "torch.cuda.manual_seed": "no global randomness",
    "torch.cuda.manual_seed_all": "no global randomness",
    "torch.cuda.set_rng_state": "no global randomness",
}
DRAWS = {"bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"}
DRAWS |= {"randn_like", "randperm"}


class Watch(ast.NodeVisitor):
    """Collects what a file does that no file may do, as `line: what, why`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.names: dict[str, str] = {}
        self.lent = 0

    def say(self, node: ast.AST, what: str, why: str) -> None:
        self.found.append(f"{node.lineno}: {what}, {why}")  # type: ignore[attr-defined]

    def check_module(self, node: ast.AST, name: str) -> None:
        for banned, why in MODULES.items():
            if name == banned or name.startswith(banned + "."):
                self.say(node, name, why)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.check_module(node, alias.name)
            top = alias.name.partition(".")[0]
            self.names[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            self.check_module(node, name)
            self.names[alias.asname or alias.name] = name

    def visit_With(self, node: ast.With) -> None:
        # torch's own stream may be lent a seed where it is given back untouched.
        calls = [item.context_expr.func for item in node.items if isinstance(item.context_expr, ast.Call)]
        lent = any(self.dotted(call) == "torch.random.fork_rng" for call in calls)
        self.lent += lent
        self.generic_visit(node)
        self.lent -= lent

    def dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value)}.{node.attr}"
        return self.names.get(node.id, "") if isinstance(node, ast.Name) else ""

    def visit_Call(self, node: ast.Call) -> None:
        name, given = self.dotted(node.func), {word.arg: word.value for word in node.keywords}
        # With weights_only torch reads tensors and builds nothing else: data, not a program.
        only_data = name == "torch.load" and ast.unparse(given.get("weights_only", ast.Constant(None))) == "True"
        if name in CALLS and not only_data and not (self.lent and CALLS[name] == "no global randomness"):
            self.say(node, name, CALLS[name])
        if name.startswith("torch.") and name.removeprefix("torch.") in DRAWS and "generator" not in given:
            self.say(node, name, "no global randomness: give it a generator")
        if name.startswith("numpy.random.") and name.split(".")[2][0].islower():
            self.say(node, name, "no global randomness: use driftback.randomness")
        if name == "numpy.load" and ast.unparse(given.get("allow_pickle", ast.Constant(None))) != "False":
            self.say(node, name, "no pickle: allow_pickle=False")
        self.generic_visit(node)


def forbidden(path: Path, source: str) -> list[str]:
    watch = Watch()
    watch.visit(ast.parse(source))
    return watch.found


def untold(path: Path, source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else ["1: no docstring"]


def too_long(path: Path, source: str) -> list[str]:
    lines = source.count("\n")
    return [f"{lines}: more than {LINES} lines; which idea deserves its own file?"] if lines > LINES else []


def vague(path: Path, source: str) -> list[str]:
    words = {word for part in path.with_suffix("").parts for word in part.split("_")}
    return [f"1: the name says {word!r}, not what is in it" for word in sorted(words & VAGUE)]


RULES = [forbidden, untold, too_long, vague]

FAULTS = [
    (forbidden, "import pickle"),
    (forbidden, "from joblib import dump"),
    (forbidden, "def f():\n    import urllib.request"),
    (forbidden, "from urllib import request"),
    (forbidden, "import requests as r"),
    (forbidden, "import torchvision.transforms"),
    (forbidden, "import random"),
    (forbidden, "import torch\ntorch.load('x')"),
    (forbidden, "from torch import load as read\nread('x')"),
    (forbidden, "import torch\ntorch.load('x', weights_only=False)"),
    (forbidden, "import torch\ntorch.manual_seed(0)"),
    (forbidden, "import torch\ntorch.random.default_generator.manual_seed(0)"),
    (forbidden, "import torch\nwith torch.no_grad():\n    torch.manual_seed(0)"),
    (forbidden, "import torch\nwith torch.random.fork_rng():\n    torch.load('x')"),
    (forbidden, "import torch\nwith torch.random.fork_rng():\n    pass\ntorch.manual_seed(0)"),
    (forbidden, "import torch\nx = torch.randn(3)"),
    (forbidden, "import torch as t\nx = t.rand_like(y)"),
    (forbidden, "import numpy as np\nnp.random.seed(0)"),
    (forbidden, "import numpy as np\nnp.random.default_rng()"),
    (forbidden, "from numpy.random import normal\nnormal(3)"),
    (forbidden, "import numpy as np\nnp.load('x')"),
    (forbidden, "import numpy as np\nnp.load('x', allow_pickle=True)"),
    (untold, "x = 1"),
    (too_long, '"""Doc."""\n' + "x = 1\n" * LINES),
    (vague, "scores/utils.py"),
    (vague, "scores/base_score.py"),
    (vague, "model_manager.py"),
]

ALLOWED = """
import numpy as np
import torch

generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([1])))
x = torch.randn(3, generator=torch.Generator().manual_seed(0))
y = np.load("x", allow_pickle=False)
z = torch.load("x", weights_only=True)
with torch.random.fork_rng(devices=[]):
    torch.random.default_generator.manual_seed(0)
"""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_files_keep_the_rules(rule) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{what}"
        for path in FILES
        for what in rule(path.relative_to(PACKAGE), path.read_text("utf-8"))
    ]
    assert len(FILES) > 20
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("rule", "fault"), FAULTS)
def test_rules_see_a_planted_fault(rule, fault) -> None:
    assert len(rule(Path(fault if rule is vague else "x.py"), fault)) == 1


def test_rules_let_the_right_way_pass() -> None:
    assert forbidden(Path("x.py"), ALLOWED) == []


def lint_imports(source: Path, config: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's word on the package below `source`."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    environment = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", code, str(config)]
    return subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, timeout=60, check=False)


def test_imports_point_only_upward() -> None:
    result = lint_imports(PACKAGE.parent, ROOT / "pyproject.toml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("networks/fault.py", "import driftback.scores", "networks is not allowed to import driftback.scores"),
        ("samplers/fault.py", "import driftback.training", "samplers is not allowed to import driftback.training"),
        ("errors.py", "import driftback.data", "errors is not allowed to import driftback.data"),
        ("scores/fault.py", "import pickle", "driftback is not allowed to import pickle"),
        ("attic/__init__.py", "", "attic"),
    ],
)
def test_import_contracts_see_a_planted_fault(tmp_path, file, line, said) -> None:
    copy = tmp_path / "driftback"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    fault = copy / file
    fault.parent.mkdir(exist_ok=True)
    fault.write_text(line, "utf-8")
    result = lint_imports(tmp_path, ROOT / "pyproject.toml")
    assert result.returncode != 0
    assert said in " ".join((result.stdout + result.stderr).split())


def test_every_room_has_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    floors = {f"driftback.{room.strip(' ()')}" for floor in contracts[0]["layers"] for room in floor.split("|")}
    assert set(ROOMS) <= floors
    assert len(ROOMS) >= 11


def undocumented(module) -> Iterator[str]:
    """The public classes and functions of `module` without a docstring of their own."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        # A dataclass that is not described describes itself by its signature.
        if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("):
            yield name


@pytest.mark.parametrize("name", ["driftback", *ROOMS])
def test_public_names_are_documented(name) -> None:
    assert list(undocumented(importlib.import_module(name))) == []


def test_an_undocumented_name_is_seen() -> None:
    source = (
        "import dataclasses\n__all__ = ['Bare', 'bare', 'told']\n"
        "@dataclasses.dataclass\nclass Bare:\n    x: int\n"
        "def bare(): ...\n"
        "def told():\n    'Says it.'\n"
    )
    module = type(sys)("planted")
    sys.modules["planted"] = module
    try:
        exec(source, module.__dict__)
        assert list(undocumented(module)) == ["Bare", "bare"]
    finally:
        del sys.modules["planted"]


def test_import_stays_light() -> None:
    code = "import driftback, sys; print(sorted({'matplotlib', 'torchvision'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"
