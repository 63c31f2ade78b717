"""A folder of pictures becomes one array of bytes; sub-folders are classes.

Two passes: the heads of all files are read first, which settles size, channels and what to leave out; then the pixels
are decoded in parallel, block by block, (n, h, w) or (n, h, w, c). What is large, or took long, is kept on the disk
(see `driftback.data.cache`), and a large set stays there: memory holds no more than a block of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftback.arguments import near
from driftback.data import cache, metadata
from driftback.data.annotations import Annotations, annotated
from driftback.data.bucketed import BUCKET, bucketed
from driftback.data.cache import Decoded
from driftback.data.dataset import Dataset, Finding
from driftback.data.decoding import Failed, Work, each, workers
from driftback.data.picture import FITS, Head, crop, look
from driftback.data.reader import Options, Reader, is_path
from driftback.data.rows import Rows
from driftback.data.sizes import one_size
from driftback.data.tree import walk
from driftback.errors import BadInput

IN_MEMORY = 64 << 20
"""Decoded pictures of at most so many bytes are held in memory; more stay on the disk."""
WORTH = 1.0
"""Decoding that took so many seconds is worth keeping, however small what came of it."""


def read(source: Any, options: Options) -> Dataset:
    """Pictures (n, h, w) or (n, h, w, c) uint8 from all files below a folder, in the order of their names.

    Grey stays one channel if all are grey; alpha is flattened on white unless `options.channels` is 4. Pictures that
    differ in size are brought to `options.size` (Lanczos) as `options.aspect` says, centre-cropped by default; without
    a size they are refused. In buckets each has the nearest of a few shapes, in the middle of one canvas.
    """
    folder = Path(source)
    tree = walk(folder)
    known = None if options.alike is None else options.alike.buckets
    if options.aspect is None:
        options = replace(options, aspect="crop" if known is None or options.size is not None else BUCKET)
    if options.aspect not in (*FITS, BUCKET):
        raise BadInput(f"there is no aspect {options.aspect!r}{near(str(options.aspect), (*FITS, BUCKET))}")
    asked: tuple[object, ...] = (options.size, options.channels, options.aspect)
    if options.aspect == BUCKET and known is not None:
        asked += (known.shapes, known.ground)
    # What is left out for want of a line counts for nothing below: not for the size, the channels, or the buckets.
    lines, called = metadata.read(folder, tree.metadata, tree.pictures), folder.name or str(folder)
    whole = _said(_names(tree.pictures, folder), folder, lines, options, called)[0]
    chosen = [file for file, keep in zip(tree.pictures, whole.keep, strict=True) if keep]
    name = cache.key(folder, chosen, asked)
    decoded = cache.find(name) or _decoded(folder, chosen, options, name)
    findings = [*tree.findings, *decoded.findings]
    x = decoded.x
    if isinstance(x, Rows):
        held = x.nbytes <= IN_MEMORY
        where = f"decoded pictures are kept in {cache.home() / name} ({x.nbytes / 1e6:,.0f} MB)"
        findings.append(Finding("note", where if held else f"{where}, and read from there bit by bit", len(x)))
        x = np.asarray(x) if held else x
    said, y, classes, told = _said(decoded.files, folder, lines, options, called)
    left_out = [found for found in whole.findings if found.level == "warning"]
    findings += [*(told if said.y is None else ()), *lines.findings, *left_out, *said.findings]
    kept = Dataset(x, None if said.y is not None else y, "pictures", name=called, value_range=(0.0, 255.0))
    if decoded.buckets is not None:
        kept = replace(kept, buckets=decoded.buckets, bucket=np.array(decoded.bucket, np.int64))
    kept = kept if said.keep.all() else kept.take(np.flatnonzero(said.keep))
    return replace(
        kept,
        y=kept.y if said.y is None else said.y,
        classes=classes if said.y is None else said.classes,
        captions=said.captions,
        numbers=said.numbers,
        number_names=said.number_names,
        findings=tuple(findings),
    )


def _said(
    files: Sequence[str], folder: Path, lines: metadata.Lines, options: Options, name: str
) -> tuple[Annotations, np.ndarray | None, tuple[str, ...], list[Finding]]:
    """What the metadata say of `files`, and their sub-folders: the class of each, the names, and what was noticed."""
    told = list[Finding]()
    y, classes = _classes([folder / file for file in files], folder, told, beside=bool(lines.of))
    return annotated(files, lines, options, name, labelled=y is not None), y, classes, told


def _decoded(
    folder: Path, pictures: list[Path], options: Options, name: str, known: Sequence[tuple[Path, str]] = ()
) -> Decoded:
    """What can be decoded of `pictures`, kept under `name`; `known` are files that cannot, each with the reason."""
    began, failed = time.perf_counter(), Failed()
    with workers() as pool:
        heads = list(zip(pictures, each(pool, look, pictures), strict=True))
        good = [(f, h) for f, h in heads if isinstance(h, Head)]
        bad = [*known, *((f, h) for f, h in heads if isinstance(h, str))]
        if not good:
            raise BadInput(
                f"none of the {len(bad)} pictures in {folder} can be read; the first, {bad[0][0].name}: {bad[0][1]}"
            )
        findings = _findings_of([h for _, h in good], options)
        channels = options.channels or (1 if all(h.grey for _, h in good) else 3)
        if channels not in (1, 3, 4):
            raise BadInput(f"channels must be 1 (grey), 3 (colour) or 4 (with transparency), not {channels}")
        work = _planned(good, folder, options, channels, findings)
        if work.nbytes > IN_MEMORY:
            try:
                with cache.building(name, work.event, work.nbytes) as building:
                    files, failed = work.onto_disk(pool, building)
                    if not work.spoilt(failed):
                        told = [*findings, *_left_out([*bad, *failed], files, folder)]
                        building.finish(_names(files, folder), told, work.buckets, work.placed(files))
                if (found := cache.find(name)) is not None:
                    return found
            except OSError as error:
                findings.append(_not_kept(work, error))
        if not work.spoilt(failed):
            x, files, failed = work.in_memory(pool)
    if work.spoilt(failed):
        return _decoded(folder, files, options, name, [*bad, *failed])
    said = (*findings, *_left_out([*bad, *failed], files, folder))
    decoded = Decoded(x, _names(files, folder), said, work.buckets, work.placed(files))
    if work.nbytes <= IN_MEMORY and time.perf_counter() - began > WORTH:
        with suppress(OSError), cache.building(name, work.event, work.nbytes) as building:
            building.add(decoded.x[:])
            building.finish(decoded.files, decoded.findings, decoded.buckets, decoded.bucket)
    return decoded


def _planned(
    good: list[tuple[Path, Head]], folder: Path, options: Options, channels: int, findings: list[Finding]
) -> Work:
    """What is to be decoded, and to what, with what that does to the pictures in `findings`."""
    files = [file for file, _ in good]
    if options.aspect == BUCKET:
        buckets, codes = bucketed(good, folder, options, channels, findings)
        return Work(files, buckets.canvas, channels, crop, buckets, codes.tolist(), options.progress)
    size = one_size(good, folder, options, findings)
    return Work(files, size, channels, FITS[options.aspect or "crop"], progress=options.progress)


def _not_kept(work: Work, error: OSError) -> Finding:
    return Finding(
        "warning",
        f"decoded pictures cannot be kept in {cache.home()} ({(error.strerror or str(error)).lower()}): "
        f"{work.nbytes / 1e6:,.0f} MB are held in memory, and decoded again the next time; make room there, or set "
        "XDG_CACHE_HOME to a place that has it",
        len(work.files),
    )


def _left_out(bad: Failed, good: list[Path], folder: Path) -> list[Finding]:
    if not good:
        raise BadInput(
            f"none of the {len(bad)} pictures in {folder} can be decoded; the first, {bad[0][0].name}: {bad[0][1]}"
        )
    if not bad:
        return []
    why = "; ".join(f"{count} x {reason}" for reason, count in Counter(reason for _, reason in bad).most_common(4))
    what = f"files that cannot be decoded are left out ({why})"
    return [Finding("warning", what, len(bad), _names((f for f, _ in bad), folder))]


def _findings_of(heads: list[Head], options: Options) -> list[Finding]:
    findings = []
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


SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})


def _classes(
    files: list[Path], folder: Path, findings: list[Finding], *, beside: bool
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The first folder below `folder` is the class; pictures directly in it mean that there are no classes.

    With metadata `beside`, folders such as train and test are the parts of a data set, and no classes.
    """
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
    if beside and SPLITS.issuperset(name.lower() for name in classes):
        findings.append(Finding("note", f"sub-folders {', '.join(classes)} with metadata: parts, and no classes"))
        return None, ()
    if len(classes) == 1:
        findings.append(Finding("note", f"one sub-folder only ({classes[0]}): no classes"))
        return None, ()
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[t] for t in inside], np.int64), tuple(classes)


def _names(files: Iterable[Path], folder: Path) -> tuple[str, ...]:
    return tuple(str(f.relative_to(folder)) for f in files)


READER = Reader(
    "a folder of pictures",
    lambda source: is_path(source) and Path(source).is_dir(),
    read,
    frozenset({"size", "channels", "aspect", "label", "caption", "numbers"}),
)
