"""The buckets of a folder of pictures, chosen from the heads of its files, and what it says to the person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftback.data.buckets import FEWEST, SHARE, WHITE, Buckets, Size, chosen
from driftback.data.dataset import Finding
from driftback.data.picture import Head
from driftback.data.reader import Options
from driftback.data.sizes import common, lost, side_for
from driftback.errors import BadInput

BUCKET = "bucket"
"""The name of this way among those of `driftback.data.picture.FITS`."""


def bucketed(
    good: Sequence[tuple[Path, Head]], folder: Path, options: Options, channels: int, findings: list[Finding]
) -> tuple[Buckets, np.ndarray]:
    """The buckets for the pictures below `folder`, and which each is in, (n,) int64; `findings` say what they lose.

    They are those that a model knows (`options.alike`), else chosen, about as large as `options.size`, or as a square
    that enlarges no picture. The ground is black; where most pictures have transparency, which is flattened on white,
    it is white. Raises BadInput where fewer than two shapes have pictures enough.
    """
    sizes = Counter(head.size for _, head in good)
    side = side_for(sizes)
    size = options.size or (side, side)
    buckets = None if options.alike is None else options.alike.buckets
    if buckets is None:
        clear = sum(head.transparent for _, head in good) > len(good) / 2
        ground = WHITE if clear and channels != 4 else 0
        buckets = Buckets(shapes=_several(chosen(sizes, size[0] * size[1]), folder), ground=ground)
    codes = buckets.nearest([head.size for _, head in good])
    findings.append(Finding("note", _told(buckets, codes, sizes, size), len(good)))
    shapes = [buckets.shapes[k] for k in codes]
    small = [path for (path, head), shape in zip(good, shapes, strict=True) if np.less(head.size, shape).any()]
    if small:
        files = tuple(str(path.relative_to(folder)) for path in small)
        findings.append(Finding("warning", "smaller than their bucket: enlarged, which blurs", len(small), files))
    return buckets, codes


def _several(shapes: tuple[Size, ...], folder: Path) -> tuple[Size, ...]:
    if not shapes:
        raise BadInput(
            f"no shape has the {FEWEST} pictures of {folder} (and {SHARE:.0%} of them) that a bucket needs: gather "
            "more, or use --aspect crop"
        )
    if len(shapes) == 1:
        height, width = shapes[0]
        raise BadInput(
            f"only {height} x {width} of the shapes that are tried has the {FEWEST} pictures of {folder} (and "
            f"{SHARE:.0%} of them) that a bucket needs, and one bucket does nothing: use --aspect crop or pad"
        )
    return shapes


def _told(buckets: Buckets, codes: np.ndarray, sizes: Counter[Size], size: Size) -> str:
    counts = np.bincount(codes, minlength=len(buckets.shapes))
    parts = [f"{count} of {h} x {w}" for (h, w), count in zip(buckets.shapes, counts, strict=True)]
    (height, width), total = buckets.canvas, sizes.total()
    of = zip(buckets.nearest(list(sizes)), sizes.items(), strict=True)
    cut = sum(count * lost(buckets.shapes[k], Counter([one])) for k, (one, count) in of) / total
    area = sum(count * h * w for (h, w), count in zip(buckets.shapes, counts, strict=True)) / total
    ground = {0: "black", WHITE: "white"}.get(buckets.ground, str(buckets.ground))
    return (
        f"sizes (height x width) {common(sizes)}: buckets, {', '.join(parts)}; cropped to them {cut:.0%} of the area "
        f"is lost on average, cropped to {size[0]} x {size[1]} it would be {lost(size, sizes):.0%}; in the middle of "
        f"a canvas of {height} x {width}, {1 - area / (height * width):.0%} of which is {ground}"
    )
