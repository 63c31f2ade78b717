"""A grid of pictures with one column for each thing that was asked for, and its words above."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from driftback.data.preprocessing import Preprocessing
from driftback.files import writing
from driftback.pictures.preview import picture_grid

LETTERS = 13
"""The size of the words, in pixels of a column of `WIDTH`."""
WIDTH = 96


def headed(x: np.ndarray, path: Path, prepared: Preprocessing, heads: Sequence[str]) -> None:
    """Draw raw pictures `x` (n, *event) to the PNG file `path`, whole or not at all; item i was asked for by
    `heads[i % len(heads)]` and stands in that column.
    """
    grid = picture_grid(x, prepared, columns=len(heads), least=WIDTH * len(heads))
    column = grid.width // len(heads)
    size = LETTERS * column // WIDTH
    font = ImageFont.load_default(size)
    letters = max(1, int(column / font.getlength("n")))
    lines = [textwrap.wrap(head, letters, max_lines=3, placeholder=" …") for head in heads]
    high = max(map(len, lines)) * int(1.3 * size) + size // 2
    sheet = Image.new("RGB", (grid.width, grid.height + high), "white")
    sheet.paste(grid, (0, high))
    pen = ImageDraw.Draw(sheet)
    for k, head in enumerate(lines):
        for row, line in enumerate(head):
            bottom = high - size // 4 - (len(head) - 1 - row) * int(1.3 * size)
            pen.text((round((k + 0.5) * column), bottom), line, fill="black", font=font, anchor="md")
    with writing(path) as temporary:
        sheet.save(temporary, format="PNG")
