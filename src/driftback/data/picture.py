"""One picture file: its head, read fast, and its pixels, put upright, flattened, cropped, resized."""

from __future__ import annotations

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
            orientation = image.getexif().get(ORIENTATION, 1)
            width, height = image.size if orientation < 5 else image.size[::-1]
            deep = image.mode.startswith(("I", "F"))
            transparent = "A" in image.mode or "a" in image.mode or "transparency" in image.info
            grey = image.mode in GREY or deep or (image.mode == "P" and _grey_palette(image))
            turned = orientation in range(2, 9)
            animated = getattr(image, "is_animated", False)
            return Head((height, width), image.mode, grey, transparent, animated, deep, turned)
    except _ERRORS as error:
        return _reason(error, path)


def decode(path: Path, out: np.ndarray, size: tuple[int, int], channels: int) -> str | None:
    """Write the picture into `out`, uint8 (h, w) or (h, w, channels); the reason, in a few words, where that fails."""
    try:
        with _opened(path) as image:
            flat = _channels(_eight_bits(ImageOps.exif_transpose(image)), channels)
            if flat.size != size[::-1]:
                flat = ImageOps.fit(flat, size[::-1], Image.Resampling.LANCZOS)
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
