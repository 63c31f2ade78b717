"""Formulas: LaTeX in blocks called `math` and between single dollars, as MathML, which browsers draw by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable

FONT = "STIXTwoMath-Regular.ttf"
"""Many systems have no font that knows how far an index is lowered; this one, under the Open Font License, is shipped
by ziamath.
"""
SCRIPT = ('<mi mathvariant="script">N</mi>', "<mi>&#x1D4A9;</mi>")
"""Browsers draw a letter of its own, and no other form of the plain one."""
FUNCTION = re.compile(r"(<m[io]>(?:log|exp)</m[io]>)(?!<mo stretchy=\"false\">&#x00028;|<mrow><mo)")
"""Functions without a bracket, between which and their argument MathML leaves no room."""
BLOCK = re.compile(r"^```math\n((?:.*\n)*?)```$", re.MULTILINE)
LITERAL = re.compile(r"(^ *```.*\n(?:.*\n)*? *```$|`[^`\n]*`)", re.MULTILINE)
DOLLARS = re.compile(r"(?<![\\$\w])\$(?=\S)([^$\n]*[^\s$\\])\$(?![\w$])")


def mathml(source: str, display: str) -> str:
    """A formula, `inline` or a `block`. Raises ValueError where a command is not known."""
    from latex2mathml.converter import convert

    drawn = convert(source, display=display)
    if "\\" in drawn:
        raise ValueError(f"this formula has a command that is not known: {source}")
    return FUNCTION.sub(r"\1<mspace width='0.17em'/>", drawn.replace(*SCRIPT))


def with_formulas(markdown: str, draw: Callable[[str, str], str] = mathml) -> str:
    """A page with its blocks of formulas, and those between single dollars, drawn; other code is left as it is."""
    markdown = BLOCK.sub(lambda one: f'<div class="formula">{draw(one[1].strip(), "block")}</div>', markdown)
    parts = LITERAL.split(markdown)
    return "".join(p if k % 2 else DOLLARS.sub(lambda one: draw(one[1], "inline"), p) for k, p in enumerate(parts))
