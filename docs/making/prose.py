"""Docstrings as Markdown, with links from the names in backticks."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

Places = Callable[[str], str | None]
"""Where the page is that tells of what a name in backticks means; None where there is none."""


def _nowhere(name: str) -> None:
    return None


def prose(text: str, where: Places = _nowhere) -> str:
    """A docstring as Markdown: words in backticks are code, everything else is what it says, stars and all."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        parts = re.split(r"(`[^`]*`)", " ".join(line.strip() for line in paragraph.splitlines()))
        out.append("".join(linked(part, where) if part.startswith("`") else _plain(part) for part in parts))
    return "\n\n".join(out)


def linked(code: str, where: Places) -> str:
    """`code`, in backticks, with a link where there is a place for it."""
    place = where(code.strip("`"))
    return code if place is None else f"[{code}]({place})"


def _plain(text: str) -> str:
    return re.sub(r"([\\*_\[\]{}#|])", r"\\\1", html.escape(text, quote=False))
