"""One size for pictures of many sizes: the one that was asked for, or a proposal, and what a crop to it loses.

A crop to the aspect a = height / width keeps min(a / b, b / a) of a picture of aspect b. Of sizes with about the area
of a square, the one of the least mean loss is proposed beside the square.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from driftback.data.buckets import Size, rounded
from driftback.data.dataset import Finding
from driftback.data.picture import DONE, Head
from driftback.data.reader import Options
from driftback.errors import BadInput

SIDES = (16, 32, 64, 128, 256)
"""Sides of squares that are proposed."""
WORTH = 0.05
"""A size that is no square is proposed if it saves so large a share of the pixels."""


def lost(size: Size, sizes: Counter[Size]) -> float:
    """The mean share of the pixels that a crop to the aspect of `size` loses of pictures of these `sizes`."""
    aspects = ((height / width * size[1] / size[0], count) for (height, width), count in sizes.items())
    return sum(count * (1 - min(ratio, 1 / ratio)) for ratio, count in aspects) / sum(sizes.values())


def best(side: int, sizes: Counter[Size]) -> Size:
    """The size of about `side` x `side` pixels whose crop loses least, among the aspects of the commonest sizes."""
    roots = [math.sqrt(height / width) for (height, width), _ in sizes.most_common(50)]
    found = [(side, side), *((rounded(side * root), rounded(side / root)) for root in roots)]
    return min(found, key=lambda size: lost(size, sizes))


def common(sizes: Counter[Size]) -> str:
    """The commonest sizes with their counts, in words."""
    first = ", ".join(f"{count} of {h} x {w}" for (h, w), count in sizes.most_common(5))
    return first + (f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else "")


def one_size(good: Sequence[tuple[Path, Head]], folder: Path, options: Options, findings: list[Finding]) -> Size:
    """The size that the pictures below `folder` are to be brought to, with what that does to them in `findings`.

    Raises BadInput with proposals where they differ and none was asked for.
    """
    sizes = Counter(h.size for _, h in good)
    if options.size is None:
        if len(sizes) > 1:
            raise BadInput(f"pictures differ in size (height x width): {common(sizes)}; {_proposed(sizes)}")
        return next(iter(sizes))
    height, width = options.size
    if set(sizes) != {options.size}:
        aspect = options.aspect or "crop"
        share = lost(options.size, sizes)
        cut = f", which loses {share:.0%} of the area on average" if aspect == "crop" and share >= 0.005 else ""
        what = f"sizes (height x width) {common(sizes)}: {DONE[aspect]} to {height} x {width}{cut}"
        findings.append(Finding("note", what, len(good) - sizes[options.size]))
        small = tuple(str(f.relative_to(folder)) for f, h in good if h.size[0] < height or h.size[1] < width)
        if small:
            what = f"smaller than {height} x {width}: enlarged, which blurs"
            findings.append(Finding("warning", what, len(small), small))
    return options.size


def side_for(sizes: Counter[Size]) -> int:
    """The side of the square that is proposed: the largest of `SIDES` that enlarges no picture, or 32."""
    return max((side for side in SIDES if side <= _least(sizes)), default=32)


def _least(sizes: Counter[Size]) -> int:
    return min(min(size) for size in sizes)


def _proposed(sizes: Counter[Size]) -> str:
    side = side_for(sizes)
    size, square = best(side, sizes), (side, side)
    said = f"choose one with --size {side} (in Python size={side})"
    if lost(square, sizes) - lost(size, sizes) >= WORTH:
        said += f", or --size {size[0]}x{size[1]}, whose crop loses {lost(size, sizes):.0%} of the area, not "
        said += f"{lost(square, sizes):.0%}"
    return f"{said}; up to --size {_least(sizes)} none is enlarged"
