"""The reference, written from the code: a page for each room, one for the front door, one for the commands.

The rooms are read, not imported (`ast`), so that the site is made without torch. The commands come from the command
line's own help, whose modules import nothing heavy. `pages()` returns Markdown by file name; nothing of it is kept.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "driftback"
ROOMS = (
    "distributions",
    "networks",
    "data",
    "processes",
    "scores",
    "samplers",
    "training",
    "evaluation",
    "pictures",
    "recipes",
)
"""In the order of the house. The room `cli` is told by its commands."""
GROUND = ("arguments", "errors", "files", "randomness", "shapes")
"""Modules below all rooms."""
WIDTH = 88
"""A signature that is longer gets a line for each argument."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A module of the package as it is written: its dotted name and its tree."""

    name: str
    tree: ast.Module = field(repr=False)

    @classmethod
    def of(cls, path: Path, package: Path = PACKAGE) -> Module:
        """The module in the file `path` of the folder `package`."""
        parts = path.relative_to(package.parent).with_suffix("").parts
        return cls(".".join(parts[:-1] if parts[-1] == "__init__" else parts), ast.parse(path.read_text("utf-8")))

    @cached_property
    def exported(self) -> tuple[str, ...]:
        """The names of its `__all__`; none where it has none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
                return tuple(ast.literal_eval(node.value))
        return ()

    @cached_property
    def imported(self) -> dict[str, str]:
        """What each name that it imports, also for types alone, is called in full."""
        return {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    @cached_property
    def public(self) -> dict[str, ast.stmt]:
        """Its own classes, functions and values that have something said of them, or that its room exports."""
        found: dict[str, ast.stmt] = {}
        for node, after in zip(self.tree.body, [*self.tree.body[1:], None], strict=True):
            for name in _names(node):
                told = isinstance(node, ast.ClassDef | Function) or _text(after)
                if not name.startswith("_") and (told or name.isupper()):
                    found[name] = node
        return found

    def about(self, name: str) -> str:
        """What is written of a public name of it."""
        node = self.public[name]
        if isinstance(node, ast.ClassDef | Function):
            return ast.get_docstring(node) or ""
        return _text((*self.tree.body, None)[self.tree.body.index(node) + 1])


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | Function):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    several = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [target.id for target in several if isinstance(target, ast.Name)]


def _text(node: ast.stmt | None) -> str:
    """The words of a string that stands by itself."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def modules(room: str, package: Path = PACKAGE) -> list[Module]:
    """The modules of a room, its `__init__` first; of a file of that name, this one."""
    folder = package / room
    files = sorted(folder.rglob("*.py"), key=lambda path: (path.parent, path.name)) if folder.is_dir() else []
    return [Module.of(path, package) for path in files or [folder.with_suffix(".py")]]


# --- from a tree to Markdown

Places = Callable[[str], str | None]
"""Where the page is that tells of what a name in backticks means; None where there is none."""


def _nowhere(name: str) -> None:
    return None


def prose(text: str, where: Places = _nowhere) -> str:
    """A docstring as Markdown: words in backticks are code, everything else is what it says, stars and all."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        parts = re.split(r"(`[^`]*`)", " ".join(line.strip() for line in paragraph.splitlines()))
        out.append("".join(_linked(part, where) if part.startswith("`") else _plain(part) for part in parts))
    return "\n\n".join(out)


def _linked(code: str, where: Places) -> str:
    place = where(code.strip("`"))
    return code if place is None else f"[{code}]({place})"


def _plain(text: str) -> str:
    return re.sub(r"([\\*_\[\]{}#|])", r"\\\1", html.escape(text, quote=False))


def signature(node: ast.stmt) -> str:
    """How something is called, as Python writes it; of a value its type or what it is."""
    if isinstance(node, Function):
        return _called(node.name, node.args, node.returns, drop=False)
    if isinstance(node, ast.ClassDef):
        return _class(node)
    if isinstance(node, ast.AnnAssign):
        return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    value = ast.unparse(node.value) if isinstance(node, ast.Assign) else ""
    return f"{', '.join(_names(node))} = {value if len(value) < WIDTH else '...'}"


def _class(node: ast.ClassDef) -> str:
    start = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if start is not None:
        return _called(f"class {node.name}", start.args, None, drop=True)
    bases = [ast.unparse(base) for base in node.bases]
    if _is_dataclass(node) or "NamedTuple" in bases:
        return _joined(f"class {node.name}", [_field(one) for one in _fields(node)], "")
    return f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("dataclass") for decorator in node.decorator_list)


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [one for one in node.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one)]


def _field(node: ast.AnnAssign) -> str:
    default = ast.unparse(node.value) if node.value else ""
    if default.startswith("field("):
        default = "..."
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}" + (f" = {default}" if default else "")


def _called(name: str, arguments: ast.arguments, returns: ast.expr | None, *, drop: bool) -> str:
    first = [*arguments.posonlyargs, *arguments.args][:1]
    drop = drop or bool(first and first[0].arg in ("self", "cls"))
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    listed = [_argument(a, d) for a, d in zip(plain, defaults, strict=True)][1 if drop else 0 :]
    if arguments.vararg:
        listed.append(f"*{_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        listed.append("*")
    listed += [_argument(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        listed.append(f"**{_argument(arguments.kwarg, None)}")
    return _joined(name, listed, f" -> {ast.unparse(returns)}" if returns is not None else "")


def _argument(node: ast.arg, default: ast.expr | None) -> str:
    typed = f"{node.arg}: {ast.unparse(node.annotation)}" if node.annotation else node.arg
    if default is None:
        return typed
    return f"{typed} = {ast.unparse(default)}" if node.annotation else f"{typed}={ast.unparse(default)}"


def _joined(name: str, listed: list[str], end: str) -> str:
    line = f"{name}({', '.join(listed)}){end}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {one},\n" for one in listed) + f"){end}"


def members(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """How each public method, property and described field of a class is called, and what is said of it."""
    for one, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and (said := _text(after)) and not ast.unparse(one.target).startswith("_"):
            yield _field(one), said
        if isinstance(one, Function) and (not one.name.startswith("_") or one.name == "__call__"):
            decorators = {ast.unparse(decorator) for decorator in one.decorator_list}
            if decorators & {"property", "cached_property"}:
                yield f"{one.name} -> {ast.unparse(one.returns) if one.returns else ''}", ast.get_docstring(one) or ""
            else:
                yield signature(one), ast.get_docstring(one) or ""


def entry(module: Module, name: str, where: Places, *, level: int, key: str) -> str:
    """A public name with its call, its words and its members, under a heading of that level with the anchor `key`."""
    node = module.public[name]
    parts = [f"{'#' * level} `{name}` {{ #{key} }}", f"```python\n{signature(node)}\n```"]
    parts.append(prose(module.about(name), where))
    if isinstance(node, ast.ClassDef):
        parts += [f"```python\n{call}\n```\n\n{prose(said, where)}" for call, said in members(node)]
    return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Package:
    """All that is public in the rooms of a package, and where the reference tells of it."""

    folder: Path = PACKAGE

    @cached_property
    def rooms(self) -> dict[str, list[Module]]:
        """The modules of each page: of each room, and of those below."""
        found = {name: modules(name, self.folder) for name in ROOMS}
        return {**found, "ground": [module for name in GROUND for module in modules(name, self.folder)]}

    @cached_property
    def top(self) -> Module:
        """The package's own `__init__`."""
        return Module.of(self.folder / "__init__.py", self.folder)

    @cached_property
    def modules(self) -> dict[str, Module]:
        """All of them by their dotted names."""
        return {module.name: module for page in self.rooms.values() for module in page}

    @cached_property
    def anchors(self) -> dict[str, str]:
        """The page and the place on it of every dotted name."""
        found = {self.top.name: "python.md"}
        for page, of_page in self.rooms.items():
            for module in of_page:
                room = f"{self.top.name}.{page}"
                found[module.name] = f"{page}.md" if module.name == room else f"{page}.md#{module.name}"
                found |= {f"{module.name}.{name}": f"{page}.md#{module.name}.{name}" for name in module.public}
        return found

    def home(self, full: str) -> tuple[Module, str]:
        """The module that a name is written in, when `__init__` files hand it on, and what it is called there."""
        above, name = full.rpartition(".")[::2]
        module = self.top if above == self.top.name else self.modules[above]
        return (module, name) if name in module.public else self.home(module.imported[name])

    def where(self, module: Module) -> Places:
        """The place of what is meant by a name in a docstring of `module`."""

        def place(word: str) -> str | None:
            for full in (module.imported.get(word, ""), f"{module.name}.{word}", word):
                if full in self.anchors:
                    return self.anchors[full]
                try:
                    home, name = self.home(full)
                except (KeyError, RecursionError):
                    continue
                return self.anchors[f"{home.name}.{name}"]
            return None

        return place

    def front_door(self) -> str:
        """The page of the names of `import driftback`."""
        parts = [f"# {self.top.name}", prose(ast.get_docstring(self.top.tree) or "")]
        for name in self.top.exported:
            full = f"{self.top.name}.{name}"
            module, own = self.home(full)
            parts.append(entry(module, own, self.where(module), level=2, key=full))
        return "\n\n".join(parts) + "\n"

    def page(self, name: str, title: str, about: str = "") -> str:
        """The page of a room: what it exports, then its modules with everything that is public in them."""
        parts = [f"# {title}", about]
        for module in self.rooms[name]:
            where, room = self.where(module), f"{self.top.name}.{name}"
            if module.name != room:
                parts.append(f"## `{module.name}` {{ #{module.name} }}")
            parts.append(prose(ast.get_docstring(module.tree) or "", where))
            if module.exported:
                listed = ", ".join(_linked(f"`{one}`", where) for one in module.exported)
                parts.append(f"`from {module.name} import` {listed}.")
            parts += [entry(module, one, where, level=3, key=f"{module.name}.{one}") for one in module.public]
        return "\n\n".join(part for part in parts if part) + "\n"


# --- the commands


def commands() -> str:
    """The page of the command line: for each command its help, examples, arguments and options."""
    import typer

    from driftback.cli.app import COMMANDS, app

    listed: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    examples = {module.__name__.rpartition(".")[2]: module.EXAMPLES for module in COMMANDS}
    parts = [
        "# Commands",
        prose(app.info.help or ""),
        "`driftback COMMAND --help` prints the same on a terminal, `driftback --version` the version.",
    ]
    for name, command in listed.items():
        parts += [f"## `driftback {name}`", prose(command.help or "")]
        parts.append("```sh\n" + "\n".join(examples[name]) + "\n```")
        for title, records in _records(command):
            rows = "".join(f"| `{_cell(call)}` | {_cell(prose(said))} |\n" for call, said in records)
            parts.append(f"| {title} | |\n| --- | --- |\n{rows}".rstrip())
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _records(command: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The arguments and options of a command by their headings, as its help has them."""
    context = command.context_class(command, info_name=command.name)
    found: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            argument = parameter.param_type_name == "argument"
            title = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or "Options"
            call = record[0].partition(" <")[0] if argument else record[0]
            found.setdefault(title, []).append((call, record[1]))
    yield from found.items()


def pages(package: Package | None = None) -> dict[str, str]:
    """Every page of the reference, by its file name, in the order of the house."""
    package = package or Package()
    rooms = {f"{name}.md": package.page(name, name) for name in ROOMS}
    ground = package.page("ground", "Below the rooms", "Modules that every room may use.")
    return {"python.md": package.front_door(), "commands.md": commands(), **rooms, "ground.md": ground}
