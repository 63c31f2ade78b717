"""Pictures in pairs, each new one beside the training picture nearest to it, with a line of words below.

The words are drawn in Pillow's own type, so that the page is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from driftback.data.preprocessing import Preprocessing
from driftback.pictures.preview import tiles

GAP, LINE = 6, 14
"""Pixels between pairs, and for the words."""
LEAST = 48
"""Pixels of a picture's shorter side."""
INK, MARKED = (40, 40, 40), (179, 38, 30)


def paired(
    left: np.ndarray,
    right: np.ndarray,
    words: Sequence[str],
    prepared: Preprocessing,
    *,
    columns: int = 5,
    least: int = LEAST,
    marked: Collection[int] = (),
) -> Image.Image:
    """Raw pictures `left` (n, *event) beside their partners `right`, `words` below each pair, `columns` pairs a row.

    Pictures are enlarged by a whole factor to `least` pixels or more. The pairs whose numbers are `marked` have red
    words and a red frame. n >= 1.
    """
    both = tiles(np.concatenate([left, right]), prepared)
    n, high, wide = len(left), *both.shape[1:3]
    factor = max(1, -(-least // min(high, wide)))
    both, high, wide = both.repeat(factor, 1).repeat(factor, 2), high * factor, wide * factor
    columns = min(columns, n)
    across, down = 2 * wide + 2 + GAP, high + LINE + GAP
    sheet = Image.new("RGB", (columns * across + GAP, -(-n // columns) * down + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, text in enumerate(words):
        x, y = i % columns * across + GAP, i // columns * down + GAP
        for k, one in enumerate((both[i], both[n + i])):
            sheet.paste(Image.fromarray(one), (x + k * (wide + 2), y))
        if i in marked:
            pen.rectangle((x - 2, y - 2, x + 2 * wide + 3, y + high + 1), outline=MARKED, width=2)
        pen.text((x, y + high + 1), text, fill=MARKED if i in marked else INK, font=font)
    return sheet
