"""Frames as an animated .gif: one palette for all of them, and only what changes from frame to frame.

A .gif has at most 256 colours a frame. Those of the roles are kept as they are, however few dots have them, and the
rest are chosen by median cut (Heckbert 1982, 'Color image quantization for frame buffer display') from a few frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from driftback.errors import BadInput
from driftback.pictures.palette import Palette, colour

COLOURS = 96
"""Few colours make a small file; densities and the edges of dots need some."""
LOOKED = 9
"""Frames that they are chosen from."""
LONGEST = 655_350
"""Milliseconds."""
NONE = 255
"""The number of no colour."""


def write_gif(shots: Sequence[np.ndarray], path: Path, palette: Palette, milliseconds: Sequence[int]) -> None:
    """Write `shots`, (height, width, 3) uint8, each shown so long, in a loop. BadInput where it is longer than the
    format counts, for scenes that are alike become one.
    """
    if sum(milliseconds) > LONGEST:
        raise BadInput(f"a .gif counts to {LONGEST / 1000:.0f} seconds, and this film is longer; let it end in .webp")
    colours = shared_colours(shots, palette)
    frames = []
    for numbers in numbered(shots, colours):
        frame = Image.fromarray(numbers)
        frame.putpalette(colours.tobytes())
        frames.append(frame)
    options = {"save_all": True, "loop": 0, "optimize": True, "disposal": 1}
    frames[0].save(path, format="GIF", append_images=frames[1:], duration=list(milliseconds), **options)


def shared_colours(shots: Sequence[np.ndarray], palette: Palette) -> np.ndarray:
    """At most `COLOURS` colours (n, 3) uint8 that serve all of the shots: those of the palette, and a choice."""
    names = (palette.paper, palette.ink, *palette.roles.values())
    own = np.rint(255 * np.stack([colour(name) for name in names])).astype(np.uint8)
    places = np.unique(np.linspace(0, len(shots) - 1, LOOKED).round().astype(int))
    together = Image.fromarray(np.concatenate([shots[k] for k in places]))
    cut = together.quantize(COLOURS - len(own), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.concatenate([own, np.array(cut.getpalette(), np.uint8).reshape(-1, 3)])


def numbered(shots: Sequence[np.ndarray], colours: np.ndarray) -> Iterator[np.ndarray]:
    """Each of the shots as the numbers (height, width) of the nearest `colours` (n, 3), n < 255."""
    known = np.full(1 << 24, NONE, np.uint8)
    for shot in shots:
        code = shot.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        # Each colour is looked for once in a film.
        new = np.unique(code[known[code] == NONE])
        rgb = np.stack([new >> 16, new >> 8 & 255, new & 255], 1)
        for part in np.array_split(np.arange(len(new)), max(1, len(new) // 4096)):
            known[new[part]] = np.square(rgb[part, None] - colours.astype(np.int64)).sum(2).argmin(1)
        yield known[code]
