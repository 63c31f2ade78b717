"""What the package says of itself, read and not imported (`ast`): modules, public names and how these are called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "driftback"
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
