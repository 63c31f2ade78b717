"""The reference and the site: nothing public is left out, everything is described, and links lead where they say.

The site itself is made by `make docs`, which fails at a warning. What it is made from is tested here, without its
tools.
"""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import driftback
from driftback.cli.app import COMMANDS, app
from driftback.pictures.shows import SHOWS

ROOT = Path(__file__).parents[1]


def making(name):
    """A module of docs/making, which is no package."""
    sys.path.insert(0, str(ROOT / "docs" / "making"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


reference, source, prose = making("reference"), making("source"), making("prose")
links, formulas = making("links"), making("formulas")
PACKAGE = reference.Package()


@pytest.fixture(scope="module")
def pages():
    return reference.pages(PACKAGE)


def test_every_name_of_the_front_door_has_an_entry(pages) -> None:
    for name in driftback.__all__:
        assert f"## `{name}` {{ #driftback.{name} }}" in pages["python.md"]


@pytest.mark.parametrize("room", reference.ROOMS)
def test_every_public_name_of_a_room_is_there_and_leads_to_its_entry(room, pages) -> None:
    folder = Path(driftback.__path__[0])
    for path in [folder / room / "__init__.py", *(folder / room).rglob("*/__init__.py")]:
        name = ".".join(path.parent.relative_to(folder.parent).parts)
        for public in getattr(importlib.import_module(name), "__all__", ()):
            place = PACKAGE.where(PACKAGE.modules[name])(public)
            assert place is not None, f"{name}.{public}"
            page, anchor = place.split("#")
            assert f"{{ #{anchor} }}" in pages[page]
            assert f"[`{public}`]({place})" in pages[f"{room}.md"]


def test_every_room_has_a_page() -> None:
    folder = Path(driftback.__path__[0])
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert rooms == {*reference.ROOMS, "cli"}
    assert {path.stem for path in folder.glob("*.py")} == {"__init__", "__main__", *reference.GROUND}


def undescribed(modules) -> list[str]:
    return [f"{module.name}.{name}" for module in modules for name in module.public if not module.about(name)]


def test_everything_public_is_described() -> None:
    values = {name for name in undescribed(PACKAGE.modules.values()) if name.rpartition(".")[2].isupper()}
    assert set(undescribed(PACKAGE.modules.values())) == values


def test_what_is_not_described_is_seen_and_what_is_private_is_not_told(tmp_path) -> None:
    file = tmp_path / "planted" / "x.py"
    file.parent.mkdir()
    file.write_text("'''Doc.'''\ndef bare(): ...\ndef told():\n    'Says it.'\ndef _own(): ...\nLIMIT = 3\n'''So.'''\n")
    module = source.Module.of(file, file.parent)
    assert list(module.public) == ["bare", "told", "LIMIT"]
    assert undescribed([module]) == ["planted.x.bare"]


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_command_is_told_with_all_its_options_and_examples(module, pages) -> None:
    name = module.__name__.rpartition(".")[2]
    told = pages["commands.md"].split(f"## `driftback {name}`")[1].split("\n## ")[0]
    assert all(example in told for example in module.EXAMPLES)
    shown = [parameter for parameter in get_command(app).commands[name].params if not getattr(parameter, "hidden", 0)]
    named = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| `([^`]*)`", told, re.MULTILINE))))
    for parameter in shown:
        words = [parameter.metavar] if parameter.param_type_name == "argument" else parameter.opts
        assert set(words) <= named, words


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(x: int, *, y: str='a', **more: int) -> None: ...", "f(x: int, *, y: str = 'a', **more: int) -> None"),
        ("def f(*xs, y=1): ...", "f(*xs, y=1)"),
        ("@dataclass(frozen=True)\nclass A:\n    x: int\n    y: float = 2.0", "class A(x: int, y: float = 2.0)"),
        ("class A(Protocol):\n    def f(self): ...", "class A(Protocol)"),
        ("class A:\n    def __init__(self, x): ...", "class A(x)"),
        ("N: int = 3", "N: int"),
    ],
)
def test_signatures(code, said) -> None:
    assert source.signature(ast.parse(code).body[0]) == said


def test_words_are_words_and_not_markup() -> None:
    assert prose.prose("x_t *and* `a_b` in [0, 1],\n  p < q") == r"x\_t \*and\* `a_b` in \[0, 1\], p &lt; q"
    assert prose.prose("one\n\ntwo") == "one\n\ntwo"


@pytest.mark.parametrize(
    ("place", "link", "there"),
    [
        ("benchmarks.md", "../benchmarks/results/a.json", "benchmarks/results/a.json"),
        ("story/score.md", "../training.md#x", "../training.md#x"),
        ("extend/index.md", "../../CONTRIBUTING.md#adding-to-it", "contributing.md#adding-to-it"),
        ("extend/contributing.md", "docs/faults.md", "../faults.md"),
        ("changelog.md", "docs/training.md", "training.md"),
        ("index.md", "https://x.org/docs/a", "https://x.org/docs/a"),
    ],
)
def test_links_lead_there_in_the_site(place, link, there) -> None:
    assert links.as_in_site(f"[a]({link})", place) == f"[a]({there})"
    assert links.as_in_site(f"```sh\n[a]({link})\n```", place) == f"```sh\n[a]({link})\n```"


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://x.org/a.js"></script>',
        '<link href=//x.org/a.css rel="stylesheet">',
        '<img alt="a" src="http://x.org/a.png">',
        '<img srcset="//x.org/a.png 2x">',
        '<object data="https://x.org/a.svg"></object>',
        '<embed src="https://x.org/a.svg">',
        '<link rel="modulepreload" href="https://x.org/a.js">',
        "@import url('https://x.org/a.css');",
        "a { background: url(//x.org/a.png) }",
    ],
)
def test_what_would_be_fetched_is_seen(text) -> None:
    assert list(links.fetched(text))


def test_what_is_only_linked_or_lies_beside_is_not() -> None:
    beside = '<a href="https://x.org">x</a><img src="a.png"><link rel="stylesheet" href="a.css"><math xmlns="http://w">'
    assert not list(links.fetched(beside))


def test_what_stands_between_dollars_is_a_formula_but_not_in_code() -> None:
    page = "Of $x_t$ and $a + b$, `$HOME`, 5 $ and 6 $.\n\n```sh\n$ make $it$\n```\n\n```math\np\n= q\n```\n"
    drawn = formulas.with_formulas(page, lambda source, display: f"<{display} {source}>")
    expected = page.replace("$x_t$", "<inline x_t>").replace("$a + b$", "<inline a + b>")
    assert drawn == expected.replace("```math\np\n= q\n```", '<div class="formula"><block p\n= q></div>')


def in_navigation() -> list[str]:
    return re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2])


def test_every_page_stands_in_the_navigation_once(pages) -> None:
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    outside = {links.place_of("CONTRIBUTING.md"), links.place_of("CHANGELOG.md")}
    assert sorted(in_navigation()) == sorted({*written, *outside, *(f"reference/{name}" for name in pages)})


def shown_in(folder: Path) -> list[str]:
    """The films that the pages of `folder` show, each with the command that makes it below."""
    pages = [page.read_text("utf-8") for page in sorted(folder.glob("*.md"))]
    film = r"!\[[^\]]+\]\(\.\./images/([\w-]+)\.gif\)\n\n\*[^\n]* `driftback show \1`\*\n"
    return [name for page in pages for name in re.findall(film, page)]


def test_every_film_stands_in_the_story_once() -> None:
    assert sorted(shown_in(ROOT / "docs" / "story")) == sorted(SHOWS)


def test_a_film_without_its_command_is_seen(tmp_path) -> None:
    (tmp_path / "a.md").write_text(
        "![A](../images/a.gif)\n\n*So. `driftback show a`*\n\n![B](../images/b.gif)\n\n*So.*\n"
    )
    assert shown_in(tmp_path) == ["a"]


def numbers(text: str) -> set[float]:
    """The numbers in a text, 1,000 and .5 and 2e-5 too; not those in links."""
    plain = re.sub(r"\]\([^)]*\)", "]", text)
    found = re.findall(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?:e-?\d+)?(?![\w])", plain)
    return {float(one.replace(",", "")) for one in found}


def section(text: str, anchor: str) -> str:
    """What stands below the heading with that anchor, up to the next that is no lower; all of it without an anchor."""
    if not anchor:
        return text
    parts = re.split(r"^(#+) (.*)$", text, flags=re.MULTILINE)
    headings = list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))
    for k, (depth, title, _) in enumerate(headings):
        if re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") == anchor:
            deeper = [len(one[0]) > len(depth) for one in headings[k + 1 :]]
            end = k + 1 + (deeper.index(False) if False in deeper else len(deeper))
            return "".join(body for *_, body in headings[k:end])
    raise KeyError(anchor)


def unmeasured(page: Path) -> list[str]:
    """The numbers of each line that stand in none of the sections that the line links to."""
    wrong = []
    for line in page.read_text("utf-8").splitlines():
        linked = [
            section((page.parent / link).read_text("utf-8"), anchor)
            for link, anchor in re.findall(r"\]\(([^)#\s]+\.md)#?([^)\s]*)\)", line)
        ]
        known = set().union(*map(numbers, linked))
        wrong += [f"{number:g}: {line}" for number in sorted(numbers(line) - known)]
    return wrong


def test_limits_tell_only_what_was_measured() -> None:
    assert unmeasured(ROOT / "docs" / "limits.md") == []


def test_a_number_that_nobody_measured_is_seen(tmp_path) -> None:
    (tmp_path / "b.md").write_text("# A title\n\n## How long?\n\n### Here\n\n1.5 s, 2,000 items.\n\n## Else\n\n7 s\n")
    (tmp_path / "a.md").write_text("[b](b.md#how-long): 1.5 s, 7 s\n[b](b.md): 2000 items, 7 s, 1.6 s\n")
    assert [line.partition(":")[0] for line in unmeasured(tmp_path / "a.md")] == ["7", "1.6"]
