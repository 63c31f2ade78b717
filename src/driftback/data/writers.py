"""Samples to files: arrays, tables, one grid of pictures, or a folder of pictures, each all there or not there at all.

Everything is written under a temporary name beside its place and renamed when it is complete, so a full disk or Ctrl-C
leaves nothing half-written.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from driftback.data.buckets import middle
from driftback.data.layouts import LAYOUTS, layout_of
from driftback.data.metadata import FILE_NAME
from driftback.errors import BadInput
from driftback.files import writing


@dataclass(frozen=True)
class Content:
    """What is to be written: items `x` (n, *event), column names, a class name per item, the range of pictures, the
    `shapes` (n, 2) that they have in the middle of their canvas, and what else goes `beside` the items, by name.
    """

    x: np.ndarray
    columns: tuple[str, ...]
    labels: tuple[str, ...] | None
    bounds: tuple[float, float] | None
    label: str = "label"
    shapes: np.ndarray | None = None
    beside: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def told(self) -> list[list[Any]]:
        """The columns of `beside`, with None for a number that is missing."""
        return [[None if one != one else one for one in column.tolist()] for column in self.beside.values()]


def write(
    x: np.ndarray,
    out: str | os.PathLike[str],
    *,
    columns: Sequence[str] = (),
    labels: Sequence[object] | np.ndarray | None = None,
    bounds: tuple[float, float] | None = None,
    label: str = "label",
    shapes: np.ndarray | None = None,
    beside: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write items `x` (n, *event) to `out` by its suffix: .npy, .npz (x and y), .csv, .png (a grid); none: a folder.

    `columns` heads a .csv, `labels` (n,) become its last column, named `label`, y in an .npz, and sub-folders in a
    folder. `bounds` is the range of pictures (the preprocessing's `bounds`), black to white; without it bytes are
    0..255 and other values min..max. Pictures that have `shapes` (n, 2), as `Model.shapes` gives them, are cropped to
    these in a .png and a folder; an .npz has them as shape. `beside` has captions or numbers (n,) by name: further
    columns of a .csv, arrays of an .npz (where `RESERVED` names have another), and in a folder the columns of a
    metadata.jsonl. Folders on the way are made.
    Raises BadInput for an unknown suffix, contents that do not suit it, and a place that is taken (unless `overwrite`;
    a folder that holds anything else than samples is never replaced) or cannot be written.
    """
    target = Path(out).expanduser()
    if labels is not None and len(labels) != len(x):
        raise BadInput(f"{len(labels)} labels for {len(x)} items: give one label per item")
    if shapes is not None and np.shape(shapes) != (len(x), 2):
        raise BadInput(f"shapes of shape {np.shape(shapes)} for {len(x)} items: give a height and a width for each")
    also = {name: np.asarray(column) for name, column in (beside or {}).items()}
    if wrong := [name for name, column in also.items() if column.shape != (len(x),)]:
        raise BadInput(f"{wrong[0]} has shape {also[wrong[0]].shape} for {len(x)} items: give one per item")
    names = None if labels is None else tuple(str(name) for name in labels)
    shapes = None if shapes is None else np.asarray(shapes)
    content = Content(np.asarray(x), tuple(columns), names, bounds, label, shapes, also)
    suffix = target.suffix.lower()
    if suffix not in WRITERS:
        raise BadInput(
            f"cannot write {suffix} files ({target}): end the name in .npy, .npz, .csv or .png, or in "
            "no suffix for a folder"
        )
    try:
        if suffix == "":
            _recover(target)
        _refuse_taken(target, suffix, overwrite)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from None
    with writing_folder(target) if suffix == "" else writing(target) as temporary:
        WRITERS[suffix](content, temporary)
    return target


OWN_NAME = re.compile(r"\d+\.png")
METADATA = "metadata.jsonl"
"""The names of samples in a folder, and of what is known of them; a folder with any other file is a person's own and
never replaced, nor one with such a file whose pictures do not say that they are ours.
"""
MAKER = ("Software", "driftback")
"""What every picture in a folder says of itself."""
RESERVED = ("x", "y", "shape", "file", "allow_pickle")
"""Names in an .npz that are taken: `beside` items of that name are called `NAME given` there."""


def _refuse_taken(target: Path, suffix: str, overwrite: bool) -> None:
    if not target.exists():
        return
    if target.is_dir() != (suffix == ""):
        raise BadInput(f"{target} is a {'folder' if target.is_dir() else 'file'} already: choose another name")
    if target.is_dir() and not any(target.iterdir()):
        return
    if not overwrite:
        raise BadInput(f"{target} exists already: choose another name, or allow overwriting")
    inside = target.rglob("*") if target.is_dir() else ()
    others = sorted(p.name for p in inside if p.is_file() and not _own(p))
    if others:
        raise BadInput(f"{target} holds {others[0]}, which is no sample written before: choose another name")


def _own(path: Path) -> bool:
    if path.name != METADATA:
        return bool(OWN_NAME.fullmatch(path.name))
    pictures = [one for one in path.parent.rglob("*.png") if OWN_NAME.fullmatch(one.name)]
    return bool(pictures) and all(map(_marked, pictures))


def _marked(path: Path) -> bool:
    with suppress(OSError), Image.open(path) as picture:
        return picture.info.get(MAKER[0]) == MAKER[1]
    return False


@contextmanager
def writing_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`; when the block ends well it takes the place of `target`, else it is gone.

    A kill between two renames leaves the old folder beside it, and the next `write` there puts it back first.
    """
    token = secrets.token_hex(4)
    temporary = target.with_name(f".{target.name}.{token}.part")
    old = target.with_name(f"{target.name}.{token}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        # A folder cannot be renamed onto one that holds files: the old one steps aside, and back if that fails. A
        # kill in between leaves it under a name that shows, and that tells where it belongs.
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror or error}; nothing was left half-written") from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _recover(target: Path) -> None:
    """Put back the folder that stepped aside for `target` when a kill came before the new one took its place."""
    if target.exists() or not target.parent.is_dir():
        return
    aside = re.compile(re.escape(target.name) + r"\.[0-9a-f]{8}\.old")
    left = [path for path in target.parent.iterdir() if aside.fullmatch(path.name) and path.is_dir()]
    if left:
        max(left, key=lambda path: path.stat().st_mtime).rename(target)


def _npy(content: Content, path: Path) -> None:
    with path.open("wb") as file:  # a file object, because numpy appends its own suffix to a name
        np.save(file, content.x, allow_pickle=False)


def _npz(content: Content, path: Path) -> None:
    arrays = {f"{name} given" if name in RESERVED else name: column for name, column in content.beside.items()}
    arrays["x"] = content.x
    if content.labels is not None:
        arrays["y"] = np.array(content.labels, dtype=np.str_)
    if content.shapes is not None:
        arrays["shape"] = content.shapes
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _csv(content: Content, path: Path) -> None:
    x = content.x
    if x.ndim != 2:
        raise BadInput(
            f"a .csv holds rows of numbers, not items of shape {x.shape[1:]}: write .npy, or a .png "
            "or a folder of pictures"
        )
    head = list(content.columns) or [f"c{j}" for j in range(x.shape[1])]
    if len(head) != x.shape[1]:
        raise BadInput(f"{len(head)} column names for {x.shape[1]} columns: give one name per column")
    cells = [_cells(x[:, j]) for j in range(x.shape[1])]
    named = [*head, *([] if content.labels is None else [content.label]), *content.beside]
    rows = zip(*cells, *([] if content.labels is None else [content.labels]), *content.told, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(named)
        writer.writerows(rows)


def _cells(column: np.ndarray) -> list[str]:
    """Each number in its shortest form that reads back as the same, whole numbers without a point."""
    if column.dtype.kind == "f" and (np.abs(column) < 1e15).all() and (column == np.rint(column)).all():
        column = column.astype(np.int64)
    return [str(value) for value in column]


def _grid(content: Content, path: Path) -> None:
    pictures = _bytes(content)
    n, height, width, channels = pictures.shape
    across = math.ceil(math.sqrt(n * height / width))
    down = -(-n // across)
    if across * width * down * height > 1 << 27:
        raise BadInput(
            f"a grid of {n} pictures of {height} x {width} is too large for one file: write fewer, or a folder"
        )
    sheet = np.full((down * (height + 1) + 1, across * (width + 1) + 1, channels), 255, np.uint8)
    for i, picture in enumerate(_cut(content, pictures)):
        top, left = 1 + (i // across) * (height + 1), 1 + (i % across) * (width + 1)
        sheet[top : top + height, left : left + width][middle((height, width), picture.shape[:2])] = picture
    _image(sheet).save(path, format="PNG")


def _folder(content: Content, path: Path) -> None:
    pictures = _bytes(content)
    digits, files, mark = max(5, len(str(len(pictures) - 1))), list[str](), PngInfo()
    mark.add_text(*MAKER)
    for i, picture in enumerate(_cut(content, pictures)):
        home = path if content.labels is None else path / _safe(content.labels[i])
        home.mkdir(exist_ok=True)
        file = home / f"{i:0{digits}d}.png"
        _image(picture).save(file, pnginfo=mark)
        files.append(file.relative_to(path).as_posix())
    if content.beside:
        lines = (
            dict(zip((FILE_NAME, *content.beside), row, strict=True)) for row in zip(files, *content.told, strict=True)
        )
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        (path / METADATA).write_text(text, encoding="utf-8")


def _cut(content: Content, pictures: np.ndarray) -> Iterator[np.ndarray]:
    """Each picture in its shape, cut out of the middle of its canvas."""
    shapes = [pictures.shape[1:3]] * len(pictures) if content.shapes is None else content.shapes.tolist()
    return (picture[middle(picture.shape[:2], shape)] for picture, shape in zip(pictures, shapes, strict=True))


def _safe(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(" .")
    return kept or "_"


def _bytes(content: Content) -> np.ndarray:
    """Pictures as uint8 (n, h, w, channels), the declared range spread over black to white."""
    x = content.x
    if x.ndim < 3 or not len(x):
        raise BadInput(f"items of shape {x.shape[1:]} ({len(x)}) are no pictures: write .npy or .csv")
    raw = np.moveaxis(LAYOUTS[layout_of(x.shape[1:])].inward(x), 1, -1)
    if raw.shape[-1] not in (1, 3, 4):
        raise BadInput(f"pictures with {raw.shape[-1]} channels cannot be shown: write .npy")
    if x.dtype == np.uint8 and content.bounds in (None, (0.0, 255.0)):
        return raw
    low, high = content.bounds or (float(x.min()), float(x.max()))
    return np.rint(np.clip((raw.astype(np.float64) - low) / (high - low or 1.0), 0, 1) * 255).astype(np.uint8)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


WRITERS: dict[str, Callable[[Content, Path], None]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".png": _grid,
    "": _folder,
}
"""By suffix; a new kind of file joins by a line here."""
