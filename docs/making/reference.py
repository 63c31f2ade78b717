"""The reference, written from the code: a page for each room, one for the front door, one for the commands.

The rooms are read, not imported, so that the site is made without torch. `pages()` returns Markdown by file name;
nothing of it is kept.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from commands import commands
from prose import Places, linked, prose
from source import PACKAGE, Module, members, modules, signature

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
                listed = ", ".join(linked(f"`{one}`", where) for one in module.exported)
                parts.append(f"`from {module.name} import` {listed}.")
            parts += [entry(module, one, where, level=3, key=f"{module.name}.{one}") for one in module.public]
        return "\n\n".join(part for part in parts if part) + "\n"


def pages(package: Package | None = None) -> dict[str, str]:
    """Every page of the reference, by its file name, in the order of the house."""
    package = package or Package()
    rooms = {f"{name}.md": package.page(name, name) for name in ROOMS}
    ground = package.page("ground", "Below the rooms", "Modules that every room may use.")
    return {"python.md": package.front_door(), "commands.md": commands(), **rooms, "ground.md": ground}
