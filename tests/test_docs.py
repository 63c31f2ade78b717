"""What the README and the docs show is run: their Python page by page, their commands against the real ones.

The Python blocks of a page share one namespace, in order, in an empty working directory. A `driftback` line in a `sh`
or `console` block must name a command, options and arguments that exist; a `make` line a target; a link a file.
"""

import gzip
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
import typer
from sybil import Sybil
from sybil.example import SybilFailure
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
RUN, CHECKED, SHOWN = {"python"}, {"console", "sh"}, {"csv", "json", "math", "text", "toml"}
UsageError = typer.BadParameter.__base__

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def run_python(page: Path) -> None:
    """Run the Python blocks of `page` in order; the first that fails raises."""
    for example in Sybil([PythonCodeBlockParser()]).parse(page).examples():
        example.evaluate()


def commands(page: Path) -> Iterator[list[str]]:
    """The commands in the shell blocks of `page`, each as its words; where a block has prompts, the rest is output."""
    for language in sorted(CHECKED):
        for example in Sybil([CodeBlockParser(language, lambda example: None)]).parse(page).examples():
            lines = str(example.parsed).replace("\\\n", " ").splitlines()
            for line in [line[2:] for line in lines if line.startswith("$ ")] or lines:
                lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                # What stands between pipes, && and redirections is a command, or a file that is none of ours.
                yield from (
                    list(words) for operator, words in groupby(lexer, lambda word: word[0] in "|&;<>()") if not operator
                )


built = cache(typer.main.get_command)


def complaint(words: list[str], app: typer.Typer) -> str:
    """What `app` would say to `words` before it converts any value; empty if it would take them."""
    command = built(app)
    try:
        options, rest, _ = command.make_parser(command.context_class(command)).parse_args(words)
        while rest and hasattr(command, "commands"):
            if rest[0] not in command.commands:
                return f"no command {rest[0]}"
            command = command.commands[rest[0]]
            options, rest, _ = command.make_parser(command.context_class(command)).parse_args(rest[1:])
    except UsageError as error:
        return error.format_message()
    if rest:
        return f"nothing takes {rest[0]}"
    missing = [parameter.name for parameter in command.params if parameter.required and not options.get(parameter.name)]
    return f"{missing[0]} is missing" if missing and not options.get("help") else ""


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def wrong_commands(page: Path, app: typer.Typer) -> list[str]:
    """The lines of `page` that the command line or make would not take."""
    wrong = []
    for words in commands(page):
        name = Path(words[0]).name
        if name == "driftback" and (said := complaint(words[1:], app)):
            wrong.append(f"{shlex.join(words)}: {said}")
        if name == "make":
            asked = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            wrong += [f"{shlex.join(words)}: no target {target}" for target in sorted(asked - targets())]
    return wrong


def strange_fences(page: Path) -> set[str]:
    """The languages of blocks in `page` that are neither run, nor checked, nor known to be only shown."""
    opened = re.findall(r"^ *```(.*)\n(?:.*\n)*? *```$", page.read_text("utf-8"), re.MULTILINE)
    return set(opened) - RUN - CHECKED - SHOWN


def broken_links(page: Path) -> list[str]:
    """The relative links of `page`, pictures too, that lead to no file."""
    prose = re.sub(r"^ *```.*\n(?:.*\n)*? *```$", "", page.read_text("utf-8"), flags=re.MULTILINE)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose) + re.findall(r"(?:src|href)=\"([^\"#]+)", prose)
    return [link for link in links if "://" not in link and not (page.parent / link).exists()]


@each_page
def test_python_runs(page, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(page)


@each_page
def test_commands_exist(page) -> None:
    if any(Path(words[0]).name == "driftback" for words in commands(page)):
        from driftback.cli.app import app
    else:
        app = typer.Typer()
    assert wrong_commands(page, app) == []


@each_page
def test_no_block_escapes(page) -> None:
    assert strange_fences(page) == set()


@each_page
def test_links_lead_somewhere(page) -> None:
    assert broken_links(page) == []


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, "utf-8")
    return page


def test_blocks_of_a_page_share_names_and_a_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = write(
        tmp_path, "```python\nx = 1\nopen('a', 'w').close()\n```\ntext\n```python\nopen(f'{x}', 'w').close()\n```\n"
    )
    run_python(page)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "1", "page.md"}


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("1 / 0", ZeroDivisionError),
        ("x = missing", NameError),
        ("import warnings\nwarnings.warn('old')", UserWarning),
        ("assert x == 2", AssertionError),
        (">>> x + 1\n3", SybilFailure),
    ],
)
def test_a_block_that_fails_is_seen(tmp_path, block, error) -> None:
    page = write(tmp_path, f"# Page\n\n```python\nx = 1\n```\n\n```python\n{block}\n```\n")
    with pytest.raises(error):
        run_python(page)


@pytest.fixture(scope="module")
def small() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def fit(source: str, out: str = typer.Option(...), minutes: float = 5.0, force: bool = False) -> None: ...

    @app.command()
    def sample(run: Path, n: int = typer.Option(1, "-n"), seed: int = 0) -> None: ...

    return app


RIGHT = [
    "driftback --help",
    "driftback fit --help",
    "$ driftback fit digits --out runs/x --minutes 1.5 --force\nbits per dimension: 2",
    "driftback fit digits \\\n  --out=runs/x  # a comment",
    "driftback fit digits --out x && driftback sample x -n 10 > rows.json",
    ".venv/bin/driftback sample runs/x --seed 3 | head\nls",
    "make test PYTHON=python3.12",
]
WRONG = [
    ("driftback learn digits", "no command learn"),
    ("$ driftback fit digits --out x --hours 2", "--hours"),
    ("driftback fit digits --out", "requires an argument"),
    ("driftback fit digits", "out is missing"),
    ("driftback sample", "run is missing"),
    ("driftback sample x y", "nothing takes y"),
    ("cat x && driftback sample \\\n x --steps 3", "--steps"),
    ("make tset", "no target tset"),
]


@pytest.mark.parametrize("block", RIGHT)
@pytest.mark.parametrize("language", sorted(CHECKED))
def test_right_commands_pass(tmp_path, small, language, block) -> None:
    assert wrong_commands(write(tmp_path, f"```{language}\n{block}\n```\n"), small) == []


@pytest.mark.parametrize(("block", "said"), WRONG)
@pytest.mark.parametrize("language", sorted(CHECKED))
def test_a_wrong_command_is_seen(tmp_path, small, language, block, said) -> None:
    (wrong,) = wrong_commands(write(tmp_path, f"```{language}\n{block}\n```\n"), small)
    assert said in wrong


def test_a_block_that_escapes_is_seen(tmp_path) -> None:
    page = write(tmp_path, "```py\n1 / 0\n```\n\n```python\nx = 1\n```\n\n  ```bash\n  ls\n  ```\n")
    assert strange_fences(page) == {"py", "bash"}


def test_a_broken_link_is_seen(tmp_path) -> None:
    page = write(tmp_path, '[a](page.md#x) [b](https://x.org/y) ![c](no.png)\n<img src="gone.png">\n')
    assert broken_links(page) == ["no.png", "gone.png"]


def data_of_every_kind(folder: Path) -> None:
    """The sources that docs/howto/report.md names, small, in `folder`."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    np.savez(folder / "points.npz", x=rng.normal(size=(200, 3)))
    rows = np.column_stack([rng.integers(1, 7, 200), rng.uniform(40, 160, 200).round(1), rng.integers(9, 400, 200)])
    np.savetxt(folder / "houses.csv", rows, "%g", ",", header="rooms,area,price", comments="")
    pictures = rng.integers(0, 256, (60, 28, 28)).astype(np.uint8)
    for place in ("photos/cat", "photos/dog", "emoji"):
        (folder / place).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).resize((40, 36)).save(folder / place / f"{i:02}.png")
    words = [f"a {colour} {what}" for colour in ("red", "blue", "green") for what in ("heart", "bird", "moon", "tree")]
    lines = [f'{i:02}.png,"{words[i % len(words)]} {i}"' for i in range(len(pictures))]
    (folder / "emoji" / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines), "utf-8")
    head = b"\0\0\x08\x03" + np.array(pictures.shape, ">u4").tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pictures.tobytes()))
    labels = b"\0\0\x08\x01" + np.array([len(pictures)], ">u4").tobytes() + (np.arange(60) % 10).astype("u1").tobytes()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_recipes_of_every_kind_of_data_end_in_a_report(tmp_path, monkeypatch) -> None:
    """Their very commands, but for budgets: two steps where minutes stand, and few samples to judge."""
    from driftback.cli.app import main

    monkeypatch.chdir(tmp_path)
    data_of_every_kind(tmp_path)
    less = {"fit": ["--steps", "2"], "sample": ["--steps", "2"], "evaluate": ["-n", "30"]}
    recipes = [words for words in commands(ROOT / "docs" / "howto" / "report.md") if words[0] == "driftback"]
    for words in [words[1:] for words in recipes if not {"SOURCE", "runs/mine"} & set(words)]:
        if "--minutes" in words:
            del words[words.index("--minutes") : words.index("--minutes") + 2]
        with pytest.raises(SystemExit) as left:
            main([*words, *less.get(words[0], [])])
        assert left.value.code == 0, shlex.join(words)
    reports = {path.parent.name for path in tmp_path.glob("runs/*/report.html")}
    assert reports == {"points", "houses", "photos", "emoji", "mnist"}
