"""`driftback`: one command for each verb. A mistake ends in one line on standard error that says what to do next.

Nothing heavy is imported before a command runs, so that help is there at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import typer
import typer.core

from driftback.cli import check, compare, demo, draw, evaluate, fit, info, likelihood, sample, show, verify
from driftback.errors import DriftbackError, out_of_memory

# typer carries a click of its own, and gives out only the leaves of its tree of errors.
UsageError: type[Any] = typer.BadParameter.__mro__[1]
INTERNAL = 70
"""The exit status of a mistake of ours (EX_SOFTWARE of sysexits.h)."""

OUT_OF_MEMORY = (
    "use fewer or smaller items, or --device cpu where a GPU ran out; --batch helps fit, --batch-size helps sample "
    "down to one block (1024 points, at most 64 pictures)"
)

app = typer.Typer(
    help="Learn from data once, then draw as many new points as you want, and know how good they are.",
    epilog="Example: driftback fit digits --out runs/digits --minutes 1.5",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Interrupted(DriftbackError):
    """Ctrl-C where there was nothing to save."""

    code = 130


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command with Ctrl-C told in a line; typer alone would leave without a word."""

    @wraps(command)
    def wrapped(*args: Any, **given: Any) -> None:
        try:
            command(*args, **given)
        except KeyboardInterrupt:
            raise Interrupted("stopped; nothing was left half-written") from None

    return wrapped


class Command(typer.core.TyperCommand):
    """A command whose help names values as people do: N for `int range`, nothing for a switch."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for each in self.params:
            if isinstance(each, typer.core.TyperOption) and each.metavar is None and not each.type_descriptor.is_choice:
                # typer asks for a context that its method does not use, and there is none before a command runs.
                kind = each.display_type(None)  # type: ignore[arg-type]
                each.metavar = next((word for start, word in PLAIN.items() if (kind or "").startswith(start)), None)


PLAIN = {"<bool": "", "<int": "N", "<float": "X", "<path": "PATH", "<str": "NAME"}
MISREAD = {"integer": "a whole number", "number": "a number"}
"""What the validator calls what it wanted, and what we call it."""


def _plainly(message: str) -> str:
    """A usage error without the validator's jargon."""
    return re.sub(
        r"Input should be a valid (\w+), unable to parse .*", lambda found: f"give {MISREAD[found[1]]}", message
    )


COMMANDS = (check, fit, sample, evaluate, likelihood, draw, compare, verify, show, info, demo)
for module in COMMANDS:
    name = module.__name__.rpartition(".")[2]
    # Help joins the lines of a paragraph: each example is one of its own.
    app.command(name, cls=Command, epilog="\n\n".join(("Examples:", *module.EXAMPLES)))(
        _interruptible(getattr(module, name))
    )


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("driftback"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `arguments` (default: those of the process), and leave with its exit status."""
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    arguments = arguments or ["--help"]
    if os.environ.get("DRIFTBACK_DEBUG"):
        return app(arguments, prog_name="driftback", standalone_mode=False) or 0
    try:
        return app(arguments, prog_name="driftback", standalone_mode=False) or 0
    except DriftbackError as error:
        return _failed(str(error), error.code)
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "driftback"
        return _failed(f"{_plainly(error.format_message().rstrip('.'))}; see {where} --help", 2)
    except BrokenPipeError:
        # The reader of a pipe has left; leaving quietly is what it expects.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _failed(f"{named}{error.strerror or error}; nothing was left half-written", 1)
    except Exception as error:
        if out_of_memory(error):
            return _failed(f"out of memory; {OUT_OF_MEMORY}", 1)
        kind = type(error).__name__
        return _failed(f"our mistake ({kind}: {error}); please report it, with what DRIFTBACK_DEBUG=1 shows", INTERNAL)


def _failed(message: str, code: int) -> int:
    print(f"driftback: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
