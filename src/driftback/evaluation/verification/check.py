"""One check is a number beside the band in which it passes; a verification is a list of them about one subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

PASS, FAIL, SHOWN = "pass", "fail", "shown"
ERRORS = 4.5
"""Standard errors that a draw may lie away: beyond them is 1 in 147,000, and no verification has 100 draws to judge."""
Kind = Literal["sampler", "score", "process", "model"]


@dataclass(frozen=True)
class Check:
    """A number and its verdict, ready for JSON. None stands where something does not apply."""

    name: str
    value: float | None
    low: float | None
    """It passes from here ..."""
    high: float | None
    """... to here; where both are None it is only shown."""
    expected: float | None
    """What it would be if all were exact."""
    standard_error: float | None
    n: int | None
    """How many points, steps or places it rests on."""
    verdict: str
    """'pass', 'fail' or 'shown'."""


@dataclass(frozen=True)
class Verification:
    """All checks on one subject, and in `conclusion` what follows from them, in a sentence."""

    subject: str
    kind: Kind
    checks: tuple[Check, ...]
    conclusion: str

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.verdict == FAIL)

    def as_json(self) -> dict[str, Any]:
        """The subject, its kind, whether it passed, the conclusion, and the checks with all their fields."""
        return {
            "subject": self.subject,
            "kind": self.kind,
            "passed": self.passed,
            "conclusion": self.conclusion,
            "checks": [asdict(check) for check in self.checks],
        }


def judged(
    name: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    *,
    expected: float | None = None,
    error: float | None = None,
    n: int | None = None,
) -> Check:
    """A check that passes where `value` is a number inside [low, high]."""
    inside = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    return Check(name, value, low, high, expected, error, n, PASS if inside else FAIL)


def near(name: str, value: float, expected: float, error: float, allowed: float, n: int) -> Check:
    """A check that passes within `ERRORS` standard errors and `allowed` of what is expected."""
    room = ERRORS * error + allowed
    return judged(name, value, expected - room, expected + room, expected=expected, error=error, n=n)


def shown(
    name: str,
    value: float | None,
    *,
    expected: float | None = None,
    error: float | None = None,
    n: int | None = None,
) -> Check:
    """A number that is reported and not judged."""
    return Check(name, value, None, None, expected, error, n, SHOWN)


def verification(subject: str, kind: Kind, checks: Sequence[Check]) -> Verification:
    """The checks with the sentence that follows from them."""
    failed = [check.name for check in checks if check.verdict == FAIL]
    sentence = f"rejected for: {', '.join(failed)}" if failed else "passes every check"
    return Verification(subject, kind, tuple(checks), sentence)
