"""A folder of pictures becomes one array of bytes; sub-folders are classes.

Two passes: the heads of all files are read first, which settles size, channels and what to leave out; then the pixels
are decoded in parallel, straight into one array (n, h, w) or (n, h, w, c), so memory holds little more than the result.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from driftback.data.dataset import Dataset, Finding
from driftback.data.picture import Head, decode, look
from driftback.data.reader import Options, Reader, is_path
from driftback.data.tree import Tree, walk
from driftback.errors import BadInput


def read(source: Any, options: Options) -> Dataset:
    """Pictures (n, h, w) or (n, h, w, c) uint8 from all files below a folder, in the order of their names.

    Grey stays one channel if all are grey; alpha is flattened on white unless `options.channels` is 4. Pictures that
    differ in size are centre-cropped to the aspect of `options.size` and resized (Lanczos); without it they are
    refused.
    """
    folder = Path(source)
    tree = walk(folder)
    # Pillow warns of odd files one by one; what matters of that is counted below. Filters are set outside the threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        heads = list(pool.map(look, tree.pictures))
        good = [(f, h) for f, h in zip(tree.pictures, heads, strict=True) if isinstance(h, Head)]
        bad = [(f, h) for f, h in zip(tree.pictures, heads, strict=True) if isinstance(h, str)]
        if not good:
            raise BadInput(
                f"none of the {len(bad)} pictures in {folder} can be read; the first, {bad[0][0].name}: {bad[0][1]}"
            )
        findings = _findings_of(tree, [h for _, h in good], options)
        size = _size(good, options, findings)
        channels = options.channels or (1 if all(h.grey for _, h in good) else 3)
        if channels not in (1, 3, 4):
            raise BadInput(f"channels must be 1 (grey), 3 (colour) or 4 (with transparency), not {channels}")
        files = [f for f, _ in good]
        x = np.empty((len(files), *size) if channels == 1 else (len(files), *size, channels), np.uint8)
        failed = list(pool.map(lambda i: decode(files[i], x[i], size, channels), range(len(files))))
    keep = np.array([reason is None for reason in failed])
    bad += [(f, reason) for f, reason in zip(files, failed, strict=True) if reason is not None]
    if bad:
        why = "; ".join(f"{count} x {reason}" for reason, count in Counter(reason for _, reason in bad).most_common(4))
        findings.append(
            Finding(
                "warning",
                f"files that cannot be decoded are left out ({why})",
                len(bad),
                _names((f for f, _ in bad), folder),
            )
        )
    if not keep.any():
        raise BadInput(
            f"none of the {len(bad)} pictures in {folder} can be decoded; the first, {bad[0][0].name}: {bad[0][1]}"
        )
    files = [f for f, kept in zip(files, keep, strict=True) if kept]
    y, classes = _classes(files, folder, findings)
    kept = x if keep.all() else x[keep]
    return Dataset(
        kept,
        y,
        "pictures",
        classes,
        name=folder.name or str(folder),
        findings=tuple(findings),
        value_range=(0.0, 255.0),
    )


def _findings_of(tree: Tree, heads: list[Head], options: Options) -> list[Finding]:
    findings = list(tree.findings)
    modes = Counter(h.mode for h in heads)
    if len(modes) > 1:
        counted = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
        findings.append(Finding("note", f"mixed colour modes: {counted}", len(heads)))
    clear = sum(h.transparent for h in heads)
    if clear and options.channels != 4:
        findings.append(Finding("note", "transparency is flattened on white (4 channels keep it)", clear))
    for what, count in (
        ("animations: the first frame is taken", sum(h.animated for h in heads)),
        ("16-bit or floating-point pictures: reduced to 8 bits", sum(h.deep for h in heads)),
        ("pictures turned upright by their EXIF orientation", sum(h.turned for h in heads)),
    ):
        if count:
            findings.append(Finding("note", what, count))
    return findings


def _size(good: list[tuple[Path, Head]], options: Options, findings: list[Finding]) -> tuple[int, int]:
    sizes = Counter(h.size for _, h in good)
    common = ", ".join(f"{count} of {h} x {w}" for (h, w), count in sizes.most_common(5))
    more = f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
    if options.size is None:
        if len(sizes) > 1:
            side = min(min(size) for size in sizes)
            valid = [str(s) for s in (16, 32, 64, 128, 256) if s <= side] or ["16", "32"]
            raise BadInput(
                f"pictures differ in size (height x width): {common}{more}; choose one with --size {valid[-1]} "
                f"(in Python size={valid[-1]}); sizes that enlarge none: {', '.join(valid)}"
                if side >= 16
                else f"pictures differ in size (height x width): {common}{more}; choose one with "
                "--size 32 (in Python size=32)"
            )
        return next(iter(sizes))
    if set(sizes) != {options.size}:
        height, width = options.size
        changed = len(good) - sizes[options.size]
        findings.append(
            Finding(
                "note",
                f"sizes (height x width) {common}{more}: cropped about the centre and resized to {height} x {width}",
                changed,
            )
        )
        small = [f for f, h in good if h.size[0] < height or h.size[1] < width]
        if small:
            findings.append(
                Finding(
                    "warning",
                    f"smaller than {height} x {width}: enlarged, which blurs",
                    len(small),
                    _names(small, None),
                )
            )
    return options.size


def _classes(files: list[Path], folder: Path, findings: list[Finding]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The first folder below `folder` is the class; pictures directly in it mean that there are no classes."""
    tops = [f.relative_to(folder).parts[0] if f.parent != folder else None for f in files]
    inside = [t for t in tops if t is not None]
    if not inside:
        return None, ()
    loose = len(tops) - len(inside)
    if loose:
        findings.append(
            Finding(
                "warning", "pictures lie beside sub-folders: no classes are read (sort all into sub-folders)", loose
            )
        )
        return None, ()
    classes = sorted(set(inside))
    if len(classes) == 1:
        findings.append(Finding("note", f"one sub-folder only ({classes[0]}): no classes"))
        return None, ()
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[t] for t in inside], np.int64), tuple(classes)


def _names(files: Iterable[Path], folder: Path | None) -> tuple[str, ...]:
    return tuple(str(f if folder is None else f.relative_to(folder)) for f in files)


READER = Reader(
    "a folder of pictures",
    lambda source: is_path(source) and Path(source).is_dir(),
    read,
    frozenset({"size", "channels"}),
)
