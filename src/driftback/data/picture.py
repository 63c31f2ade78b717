"""One picture file: its head, read fast, and its pixels, put upright, flattened, and brought to a size."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ORIENTATION = 0x0112
MOST_PIXELS = 178_956_970  # twice what Pillow warns at: above it a file is refused as a decompression bomb
GREY = frozenset({"1", "L", "I", "F", "LA", "La"})


@dataclass(frozen=True)
class Head:
    """What the head of a file says: `size` (height, width) once upright, colour mode, and what must be done to it."""

    size: tuple[int, int]
    mode: str
    grey: bool
    transparent: bool
    animated: bool
    deep: bool
    turned: bool


def look(path: Path) -> Head | str:
    """The head of a picture file, or the reason why it cannot be read, in a few words."""
    try:
        with _opened(path) as image:
            orientation = 1 if _plain_png(image, path) else image.getexif().get(ORIENTATION, 1)
            width, height = image.size if orientation < 5 else image.size[::-1]
            deep = image.mode.startswith(("I", "F"))
            transparent = "A" in image.mode or "a" in image.mode or "transparency" in image.info
            grey = image.mode in GREY or deep or (image.mode == "P" and _grey_palette(image))
            turned = orientation in range(2, 9)
            animated = getattr(image, "is_animated", False)
            return Head((height, width), image.mode, grey, transparent, animated, deep, turned)
    except _ERRORS as error:
        return _reason(error, path)


Fit = Callable[[Image.Image, tuple[int, int]], Image.Image]
"""A picture and (width, height) to a picture of that size."""


def crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest part about the centre that has the aspect of `size`, resized."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture, resized, in the middle of a ground of one colour: the median of its border.

    A picture on a plain ground goes on in that ground, white or black or clear, and a photograph gets bars of a colour
    that it has.
    """
    small = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    pixels = np.asarray(small)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(border, 0).astype(np.uint8)
    whole = Image.fromarray(np.broadcast_to(ground, (size[1], size[0], *pixels.shape[2:])).copy())
    whole.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return whole


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture, stretched where its aspect is another."""
    return image.resize(size, Image.Resampling.LANCZOS)


FITS: dict[str, Fit] = {"crop": crop, "pad": pad, "resize": resize}
DONE = {
    "crop": "cropped about the centre and resized",
    "pad": "resized whole, with bars in the colour of the border,",
    "resize": "resized, and stretched where the aspect is another,",
}
"""What is done to pictures of another size, by name, and how it is told."""


def decode(path: Path, out: np.ndarray, size: tuple[int, int], channels: int, fit: Fit = crop) -> str | None:
    """Write the picture into `out`, uint8 (h, w) or (h, w, channels); the reason, in a few words, where that fails."""
    try:
        with _opened(path) as image:
            flat = _channels(_eight_bits(ImageOps.exif_transpose(image)), channels)
            if flat.size != size[::-1]:
                flat = fit(flat, (size[1], size[0]))
            out[...] = np.asarray(flat)
    except _ERRORS as error:
        return _reason(error, path)
    return None


class _TooLarge(Exception):
    pass


_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    _TooLarge,
    Image.DecompressionBombError,
    OverflowError,
    MemoryError,
)


def _opened(path: Path) -> Image.Image:
    image = Image.open(path)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise _TooLarge
    return image


def _plain_png(image: Image.Image, path: Path) -> bool:
    """Whether this is a whole PNG that says nothing of its orientation: Pillow decodes all of it to find that out."""
    if image.format != "PNG" or any("exif" in str(key).lower() or "xmp" in str(key).lower() for key in image.info):
        return False
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return file.tell() + 4 <= size
            if kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                return False
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey pictures as 8 bits: 16-bit values are divided by 257, floating-point ones taken as 0..1."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    top = (
        1.0 if image.mode == "F" else 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 255.0
    )
    return Image.fromarray(np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8))


def _channels(image: Image.Image, channels: int) -> Image.Image:
    if channels == 4:
        return image.convert("RGBA")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _grey_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, (_TooLarge, Image.DecompressionBombError)):
        return f"more than {MOST_PIXELS:,} pixels, a decompression bomb"
    if path.is_file() and not path.stat().st_size:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "no known picture format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated or damaged"
