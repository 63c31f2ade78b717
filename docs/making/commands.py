"""The page of the command line, from its own help, whose modules import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prose import prose


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
