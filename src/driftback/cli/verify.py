"""`driftback verify`: does it do what it claims, as a table of checks, with a verdict for the shell."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from driftback.cli import options
from driftback.cli.output import emit, number, say, show, table
from driftback.cli.progress import progress

if TYPE_CHECKING:
    from driftback.evaluation.verification import Verification

EXAMPLES = ("driftback verify heun", "driftback verify my_solver.py --json", "driftback verify runs/moons")


def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT", help="A name, your own FILE.py (which is run), or a model's folder. Left out: the names."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Verify every one of ours.")] = False,
    faulty: Annotated[bool, typer.Option("--faulty", help="Verify the faulty ones: each has to be rejected.")] = False,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Check a sampler, score, process or fitted model against targets about which everything is known.

    Leaves with status 1 if a check fails (with --faulty: if one is not rejected for its fault), and with 2 for what
    cannot be verified.
    """
    from driftback.errors import BadInput
    from driftback.recipes import verify as recipe

    if sum((what is not None, all_, faulty)) > 1:
        raise BadInput("WHAT, --all and --faulty are three questions; ask one at a time")
    if what is None and not all_ and not faulty:
        _listed(json)
        return
    found: list[Verification] = []
    missed: list[str] = []
    if what is not None:
        # What a user's file prints is none of the result.
        with redirect_stdout(sys.stderr):
            found = recipe.verify(what, seed=seed)
    else:
        known = recipe.faulty() if faulty else recipe.subjects()
        with progress("verified", quiet=quiet) as update:
            for done, one in enumerate(known.values()):
                found.append(one.run(seed))
                if one.caught_by and one.caught_by not in found[-1].failed:
                    missed.append(found[-1].subject)
                update(done + 1, len(known), "")
    if json:
        emit(found[0].as_json() if what is not None and len(found) == 1 else {"subjects": [o.as_json() for o in found]})
    elif what is None:
        rows = [(one.subject, one.kind, "pass" if one.passed else "FAIL", one.conclusion) for one in found]
        table(("subject", "kind", "verdict", "conclusion"), rows)
    else:
        for verified in found:
            _told(verified)
    if faulty and missed:
        say(f"not rejected for what is wrong: {', '.join(missed)}")
    if missed if faulty else not all(verified.passed for verified in found):
        raise typer.Exit(1)


def _told(one: Verification) -> None:
    show(f"{one.subject} ({one.kind}): {'pass' if one.passed else 'FAIL'}")
    table(
        ("check", "value", "standard error", "expected", "passes inside", "n", "verdict"),
        [
            (
                check.name,
                number(check.value, 4),
                number(check.standard_error, 2),
                number(check.expected, 4),
                _band(check.low, check.high),
                "-" if check.n is None else str(check.n),
                check.verdict,
            )
            for check in one.checks
        ],
        right=(1, 2, 3, 4, 5),
    )
    show(one.conclusion)


def _band(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "-"
    return f"{'' if low is None else number(low, 4)} .. {'' if high is None else number(high, 4)}".strip()


def _listed(json: bool) -> None:
    from driftback.recipes import verify as recipe

    known = recipe.subjects() | recipe.faulty()
    if json:
        keys = ("name", "kind", "claims", "source")
        names = [dict(zip(keys, (name, o.kind, o.claims, o.source), strict=True)) for name, o in known.items()]
        emit({"names": names})
        return
    table(("name", "kind", "claims", "source"), [(name, o.kind, o.claims, o.source) for name, o in known.items()])
