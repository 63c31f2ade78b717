"""What a person has seen of an item, in the units of the data, as an observation of the encoded item.

A picture with a part hidden, one that is smaller, grey or blurred, some columns of a row, or anything that a function
of the encoded item says. Encoding a picture is one offset and one scale, and weights that sum to 1 keep both, so that
what was seen of the picture is seen of its code. Means lie between the data's levels; what is seen bare lies on them.
A picture of one of a model's buckets is one within its canvas, and is drawn where that bucket is asked for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import real, whole
from driftback.data.buckets import Size, middle
from driftback.data.extent import refuse_not_finite
from driftback.data.layouts import LAYOUTS
from driftback.data.picture import decode, look
from driftback.data.preprocessing import FITTED, Preprocessing
from driftback.distributions.observation import Observation, Operator
from driftback.distributions.operators import Blur, Downsample, Grey, Mask
from driftback.errors import BadInput
from driftback.recipes.config import Config

NOISE = 0.01
"""How exact what is seen is taken to be where nothing is said, in standard deviations of the data."""
LEAST, MOST = 1e-6, 1e6
"""The least noise, and how far from the data what is seen may lie, both in standard deviations of the data."""
BYTE = 0.6 / 255
"""Pictures are read in bytes: a level may be so far from the nearest one, in shares of the range, and a bit for safety.
"""


@dataclass(frozen=True, eq=False)
class OfItem(Observation):
    """One of an item in the units of the data, whose log-density is less than that of its code by `log_scale` nats.
    With a `shape` it is of a picture of that bucket, and only such pictures go with it.
    """

    log_scale: float = 0.0
    shape: Size | None = None


@dataclass(frozen=True)
class Within:
    """What `operator` makes of the part of a canvas that is the bucket `shape`, (n, c, h, w) to (n, *seen)."""

    operator: Operator
    shape: Size

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise BadInput(f"items of {tuple(x.shape[1:])} are no pictures (c, h, w), which a part is seen of")
        rows, columns = middle(x.shape[2:], self.shape)
        return self.operator(x[:, :, rows, columns])


def hidden(config: Config, item: Any, hide: Any, noise: float = NOISE) -> Observation:
    """An `item` (*event) of which all is seen but where `hide`, (*event) or (h, w), is true. Values there are not
    looked at; the others lie on the data's levels. A picture may have the sides of a bucket. BadInput for other shapes,
    and where everything or nothing is hidden.
    """
    prepared, x = config.preprocessing, np.array(item)
    hide = np.asarray(hide).astype(bool)
    shape = None
    if prepared.buckets is not None and x.shape[:2] == hide.shape[:2] and x.shape[:2] in prepared.buckets.shapes:
        shape = (x.shape[0], x.shape[1])
        x, hide = _on_canvas(prepared, x, prepared.buckets.ground), _on_canvas(prepared, hide, 0)
    if x.shape != prepared.event:
        raise BadInput(f"the item has the shape {x.shape}, and the model draws {prepared.event}; bring it to that")
    if len(prepared.event) == 3 and hide.shape == prepared.internal_event[1:]:
        hide = _raw(prepared, np.repeat(hide[:, :, None], prepared.internal_event[0], axis=2))
    if hide.shape != prepared.event:
        raise BadInput(f"the mask has the shape {hide.shape}, and the item {prepared.event}; they have to agree")
    x[hide] = _harmless(prepared, x)[hide]
    seen = np.ascontiguousarray(LAYOUTS[prepared.layout].inward(~hide[None])[0])
    mask, z = Mask(torch.from_numpy(seen)), prepared.encode(x[None])
    far = float(z.abs().max()) / config.spread
    if far > MOST:
        raise BadInput(f"what is seen lies {far:.3g} deviations from the data, where no model knows anything")
    scale = LAYOUTS[prepared.layout].inward(np.broadcast_to(np.array(prepared.scale), (1, *prepared.event)))
    log_scale = float(np.log(scale[0][seen]).sum())
    return OfItem(mask, mask(z)[0], _noise(config, noise), prepared.internal_event, log_scale, shape)


def columns(config: Config, values: Mapping[str, float], noise: float = NOISE) -> Observation:
    """A row of which some columns are known, by name, or by number from 0 where they have none. BadInput for names that
    there are none of, and for all of them.
    """
    prepared = config.preprocessing
    if len(prepared.event) != 1:
        raise BadInput("columns are known of rows, and this model draws pictures; give one, and what was done to it")
    names = prepared.columns or tuple(str(j) for j in range(prepared.event[0]))
    x, hide = np.zeros(prepared.event, np.float64), np.ones(prepared.event, bool)
    for name, value in values.items():
        if name not in names:
            raise BadInput(f"there is no column '{name}': {_meant(config, name, names)}")
        if not math.isfinite(real(value, name)):
            raise BadInput(f"{name} must be a finite number, not {value}")
        x[names.index(name)], hide[names.index(name)] = value, False
    if not hide.any():
        raise BadInput("all columns are given, so that nothing is left to draw; leave at least one out")
    return hidden(config, x, hide, noise)


def smaller(config: Config, picture: Any, factor: int, noise: float = NOISE) -> Observation:
    """A `picture` with sides `factor` times smaller, each of its pixels the mean of `factor` x `factor` ones: in the
    order of the data, (h, w, c), or (h, w) where there is one channel. Means need not lie on the data's levels.
    """
    operator = Downsample(whole(factor, "factor", 2))
    return _averaged(config, operator, _inside(config.preprocessing, picture, factor), noise, factor)


def grey(config: Config, picture: Any, noise: float = NOISE) -> Observation:
    """A `picture` (h, w) without its colours: their luminance, which need not lie on the data's levels."""
    prepared, x = config.preprocessing, np.asarray(picture)
    known = sizes(prepared)
    if prepared.internal_event[0] < 3:
        raise BadInput("this model's pictures are grey already: there is nothing to colour")
    if x.shape not in known:
        raise BadInput(f"the picture has the shape {x.shape}; bring it to {_listed(known)}, in grey")
    return _averaged(config, Grey(), x[None], noise)


def blurred(config: Config, picture: Any, deviation: float, noise: float = NOISE) -> Observation:
    """A `picture` that a Gaussian of `deviation` pixels has blurred: in the order of the data, (h, w, c), or (h, w)
    where there is one channel. Its values need not lie on the data's levels.
    """
    return _averaged(config, Blur(real(deviation, "deviation")), _inside(config.preprocessing, picture), noise)


def through(config: Config, operator: Operator, y: Any, noise: float = NOISE) -> Observation:
    """`y` as `operator` gives it of encoded items (n, *internal event), by torch's functions."""
    seen = torch.as_tensor(np.asarray(y), dtype=torch.float32)
    return Observation(operator, seen, _noise(config, noise), config.preprocessing.internal_event)


def read(config: Config, path: Path, factor: int = 1, channels: int | None = None) -> np.ndarray:
    """The picture at `path` in the units of the data, float64, in the order of the data; (h, w) where 1 of `channels`
    is asked for. BadInput where it cannot be read, or is not `factor` times smaller than the model's.
    """
    prepared = config.preprocessing
    known, own = sizes(prepared, factor), channels or prepared.internal_event[0]
    if own == 2:
        raise BadInput("no picture file has 2 channels, as this model's items; give an array, from Python")
    out = _decoded(path, known, own)
    low, top = prepared.bounds or (0.0, 255.0)
    x = np.clip(low + out / 255.0 * (top - low), low, top)
    return x if channels == 1 else _raw(prepared, x)


def read_masked(config: Config, path: Path, mask: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    """The picture at `path` on the levels of the data, where the one at `mask` is white, (h, w) bool: in its lighter
    half, and what to warn a person of, where what is seen was rounded by more than a file in bytes is.
    """
    prepared, levels = config.preprocessing, config.preprocessing.levels
    x, hide = read(config, path), _decoded(mask, sizes(prepared), 1) >= 128
    high, wide = x.shape[1:] if prepared.layout == "chw" else x.shape[:2]
    if hide.shape != (high, wide):
        raise BadInput(f"{path} is {high} x {wide}, and {mask} {hide.shape[0]} x {hide.shape[1]}; they have to agree")
    if levels is None or prepared.bounds is None:
        return x, hide, None
    off = np.abs(levels.nearest(x) - x) / ((prepared.bounds[1] - prepared.bounds[0]) or 1.0)
    most = off[np.broadcast_to(_raw(prepared, ~hide), x.shape)].max(initial=0.0)
    said = f"{path} is off the {levels.count} levels of the data by up to {most:.0%} of their range, and is rounded"
    return levels.nearest(x), hide, said if most > BYTE else None


def sizes(prepared: Preprocessing, factor: int = 1) -> tuple[Size, ...]:
    """The sizes (height, width) that a picture may have which is `factor` times smaller than the model's: that of its
    items, or those of its buckets. BadInput where there are none.
    """
    if prepared.kind != "pictures":
        raise BadInput("this model draws points; say what is known of one by column=value")
    high, wide = prepared.internal_event[1:]
    known = prepared.buckets.shapes if prepared.buckets is not None else ((high, wide),)
    if factor == 1:
        return known
    found = tuple((h // factor, w // factor) for h, w in known if factor > 1 and h % factor == w % factor == 0)
    if not found:
        raise BadInput(f"{factor} does not divide the model's {_listed(known)}; give a factor of 2 or more that does")
    return found


def _listed(known: tuple[Size, ...]) -> str:
    return " or ".join(f"{high} x {wide}" for high, wide in known)


def _meant(config: Config, name: str, names: tuple[str, ...]) -> str:
    """What to say of a `name` that no column has: what it is asked for by, or what there is."""
    asked = {config.alike.label: "label", config.alike.caption: "prompt"} | dict.fromkeys(config.alike.numbers, "value")
    if name in asked:
        return f"what it holds is asked for by {asked[name]}"
    near = difflib.get_close_matches(name, names, 1)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (f"did you mean {near[0]}? " if near else "") + f"known are {', '.join(names[:20])}{more}"


def _on_canvas(prepared: Preprocessing, x: np.ndarray, value: int) -> np.ndarray:
    """A picture (h, w) or (h, w, c) of a bucket in the middle of the canvas, with `value` around it."""
    out = np.full((*prepared.event[:2], *x.shape[2:]), value, x.dtype)
    out[middle(prepared.event[:2], x.shape[:2])] = x
    return out


def _raw(prepared: Preprocessing, x: np.ndarray) -> np.ndarray:
    """A picture (h, w, c) or (h, w) in the order of the data, with its one channel where the data has that."""
    if prepared.layout == "hw":
        return x
    x = x if x.ndim == 3 else x[:, :, None]
    return np.moveaxis(x, -1, 0) if prepared.layout == "chw" else x


def _inside(prepared: Preprocessing, picture: Any, factor: int = 1) -> np.ndarray:
    """A picture as (c, h, w), whichever way it stands. BadInput for one of another shape."""
    x, known, channels = np.asarray(picture), sizes(prepared, factor), prepared.internal_event[0]
    if x.ndim == 2:
        found = x[None]
    elif prepared.layout == "chw" and x.shape[0] == channels and x.shape[1:] in known:
        found = x
    else:
        found = np.moveaxis(x, -1, 0) if x.ndim == 3 else x
    if found.ndim != 3 or found.shape[0] != channels or found.shape[1:] not in known:
        each = f"in {channels} channel{'s' if channels > 1 else ''}"
        raise BadInput(f"the picture has the shape {x.shape}; bring the picture to {_listed(known)}, {each}")
    return found


def _decoded(path: Path, known: tuple[Size, ...], channels: int) -> np.ndarray:
    """The bytes of a picture file, (h, w) or (h, w, c), of one of the `known` sizes."""
    head = look(path)
    if isinstance(head, str):
        raise BadInput(f"{path} cannot be read as a picture: {head}")
    if head.size not in known:
        raise BadInput(f"{path} is {head.size[0]} x {head.size[1]}, and {_listed(known)} is wanted; bring it to that")
    out = np.empty(head.size if channels == 1 else (*head.size, channels), np.uint8)
    if (why := decode(path, out, head.size, channels)) is not None:
        raise BadInput(f"{path} cannot be read as a picture: {why}")
    return out


def _averaged(config: Config, operator: Operator, x: np.ndarray, noise: float, factor: int = 1) -> Observation:
    """What `operator` makes of a picture is `x` (c, h, w), in the units of the data."""
    prepared, shape = config.preprocessing, (x.shape[1] * factor, x.shape[2] * factor)
    operator = operator if shape == prepared.internal_event[1:] else Within(operator, shape)
    whole = None if prepared.buckets is None else shape
    log_scale = x.size * math.log(prepared.scale[0])
    return OfItem(operator, _code(prepared, x), _noise(config, noise), prepared.internal_event, log_scale, whole)


def _code(prepared: Preprocessing, x: np.ndarray) -> Tensor:
    """Means of pixels, encoded: within the range of the data, on its levels or between them."""
    if x.dtype.kind not in "biuf":
        raise BadInput(f"values must be numbers, not {x.dtype}")
    refuse_not_finite(x[None])
    ends = prepared.bounds if prepared.levels is None else (prepared.levels.values[0], prepared.levels.values[-1])
    low, top = ends or (-math.inf, math.inf)
    # A mean of numbers at an end is off it by rounding.
    slack = 1e-6 * (top - low) if ends else 0.0
    if len(bad := x[(x < low - slack) | (x > top + slack)]):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise BadInput(
            f"the value {bad[0]:g}{more} is not in the range {low:g} to {top:g} of {FITTED}: give it in the same units"
        )
    return torch.from_numpy(((x - prepared.offset[0]) / prepared.scale[0]).astype(np.float32))


def _noise(config: Config, noise: float) -> float:
    if 0 < real(noise, "noise") < LEAST:
        raise BadInput(f"a noise of {noise:g} deviations is less than numbers of 32 bits tell; give {LEAST:g} or more")
    return noise * config.spread


def _harmless(prepared: Preprocessing, x: np.ndarray) -> np.ndarray:
    """Values that encoding takes, for places that are not looked at."""
    first = prepared.levels.values[0] if prepared.levels is not None else None
    offset = np.broadcast_to(np.array(prepared.offset), prepared.event)
    return (np.full(prepared.event, first) if first is not None else offset).astype(x.dtype)
