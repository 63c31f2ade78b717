"""What a person has seen of an item, in the units of the data, as an observation of the encoded item.

A picture with a part hidden, one that is smaller, grey or blurred, some columns of a row, or anything that a function
of the encoded item says. Encoding a picture is one offset and one scale, and weights that sum to 1 keep both, so that
what was seen of the picture is seen of its code.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import real
from driftback.data.layouts import LAYOUTS
from driftback.data.picture import decode, look
from driftback.data.preprocessing import Preprocessing
from driftback.distributions.observation import Observation, Operator
from driftback.distributions.operators import Blur, Downsample, Grey, Mask
from driftback.errors import BadInput
from driftback.recipes.config import Config

NOISE = 0.01
"""How exact what is seen is taken to be where nothing is said, in standard deviations of the data."""


def hidden(config: Config, item: Any, hide: Any, noise: float = NOISE) -> Observation:
    """An `item` (*event) of which all is seen but where `hide`, (*event) or (h, w), is true. Values there are not
    looked at. BadInput for other shapes, and where everything or nothing is hidden.
    """
    prepared, x = config.preprocessing, np.array(item)
    hide = np.asarray(hide).astype(bool)
    if x.shape != prepared.event:
        raise BadInput(f"the item has the shape {x.shape}, and the model draws {prepared.event}; bring it to that")
    if len(prepared.event) == 3 and hide.shape == _sides(prepared):
        hide = _raw(prepared, np.repeat(hide[:, :, None], prepared.internal_event[0], axis=2))
    if hide.shape != prepared.event:
        raise BadInput(f"the mask has the shape {hide.shape}, and the item {prepared.event}; they have to agree")
    x[hide] = _harmless(prepared, x)[hide]
    seen = np.ascontiguousarray(LAYOUTS[prepared.layout].inward(~hide[None])[0])
    return _observed(config, Mask(torch.from_numpy(seen)), prepared.encode(x[None]), noise)


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
            near = difflib.get_close_matches(name, names, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise BadInput(f"there is no column '{name}': {meant}known are {', '.join(names[:20])}")
        x[names.index(name)], hide[names.index(name)] = real(value, name), False
    dtype = np.dtype(prepared.dtype)
    if dtype.kind in "iu" and not (x[~hide] == np.rint(x[~hide])).all():
        dtype = np.dtype(np.float64)
    return hidden(config, x.astype(dtype), hide, noise)


def smaller(config: Config, picture: Any, factor: int, noise: float = NOISE) -> Observation:
    """A `picture` with sides `factor` times smaller, each of its pixels the mean of `factor` x `factor` ones."""
    high, wide = _sides(config.preprocessing)
    operator, x = Downsample(factor), np.asarray(picture)
    if (x.shape[0] * factor, x.shape[1] * factor) != (high, wide):
        raise BadInput(
            f"{factor} times {x.shape[0]} x {x.shape[1]} is not the model's {high} x {wide}; bring the picture to "
            f"{high / factor:g} x {wide / factor:g}"
        )
    return _observed(config, operator, _encoded(config, x.repeat(factor, 0).repeat(factor, 1)), noise)


def grey(config: Config, picture: Any, noise: float = NOISE) -> Observation:
    """A `picture` (h, w) without its colours."""
    sides, x = _sides(config.preprocessing), np.asarray(picture)
    channels = config.preprocessing.internal_event[0]
    if channels < 3:
        raise BadInput("this model's pictures are grey already: there is nothing to colour")
    if x.shape != sides:
        raise BadInput(f"the picture is {x.shape}, and the model's are {sides}; bring it to that, in grey")
    return _observed(config, Grey(), _encoded(config, np.repeat(x[:, :, None], channels, axis=2)), noise)


def blurred(config: Config, picture: Any, deviation: float, noise: float = NOISE) -> Observation:
    """A `picture` (h, w) or (h, w, c) that a Gaussian of `deviation` pixels has blurred."""
    operator, z = Blur(deviation), _encoded(config, np.asarray(picture))
    return Observation(operator, z[0], _noise(config, noise), tuple(z.shape[1:]))


def through(config: Config, operator: Operator, y: Any, noise: float = NOISE) -> Observation:
    """`y` as `operator` gives it of encoded items (n, *internal event), by torch's functions."""
    seen = torch.as_tensor(np.asarray(y), dtype=torch.float32)
    return Observation(operator, seen, _noise(config, noise), config.preprocessing.internal_event)


def read(config: Config, path: Path, size: tuple[int, int] | None = None, channels: int | None = None) -> np.ndarray:
    """The picture at `path` in the units of the data, (h, w) or (h, w, c). BadInput where it cannot be read, or has
    another size than `size` (default: the model's).
    """
    prepared = config.preprocessing
    out = _decoded(path, size or _sides(prepared), channels or prepared.internal_event[0])
    low, top = prepared.bounds or (0.0, 255.0)
    x = low + out / 255.0 * (top - low)
    return prepared.levels.nearest(x) if prepared.levels is not None else x.astype(prepared.dtype)


def _sides(prepared: Preprocessing) -> tuple[int, int]:
    """The height and width of the pictures. BadInput where there are none."""
    if prepared.kind != "pictures":
        raise BadInput("this model draws points; say what is known of one by column=value")
    return prepared.internal_event[1], prepared.internal_event[2]


def _raw(prepared: Preprocessing, x: np.ndarray) -> np.ndarray:
    """A picture (h, w, c) or (h, w) in the order of the data."""
    return np.moveaxis(x, -1, 0) if prepared.layout == "chw" and x.ndim == 3 else x


def read_mask(config: Config, path: Path) -> np.ndarray:
    """Where the picture at `path` is white, (h, w) bool: its lighter half. BadInput as `read`."""
    out = _decoded(path, _sides(config.preprocessing), 1)
    return out >= 128


def divided(config: Config, factor: int) -> tuple[int, int]:
    """The size of a picture that is `factor` times smaller than the model's. BadInput where it has none."""
    high, wide = _sides(config.preprocessing)
    if factor < 2 or high % factor or wide % factor:
        raise BadInput(f"{factor} does not divide the model's {high} x {wide}; give a factor of 2 or more that does")
    return high // factor, wide // factor


def _decoded(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    head = look(path)
    if isinstance(head, str):
        raise BadInput(f"{path} cannot be read as a picture: {head}")
    if head.size != size:
        high, wide = size
        raise BadInput(f"{path} is {head.size[0]} x {head.size[1]}, and {high} x {wide} is wanted; bring it to that")
    out = np.empty(size if channels == 1 else (*size, channels), np.uint8)
    if (why := decode(path, out, size, channels)) is not None:
        raise BadInput(f"{path} cannot be read as a picture: {why}")
    return out


def _encoded(config: Config, x: np.ndarray) -> Tensor:
    return config.preprocessing.encode(_raw(config.preprocessing, x)[None])


def _observed(config: Config, operator: Operator, z: Tensor, noise: float) -> Observation:
    return Observation(operator, operator(z)[0], _noise(config, noise), tuple(z.shape[1:]))


def _noise(config: Config, noise: float) -> float:
    return real(noise, "noise") * config.spread


def _harmless(prepared: Preprocessing, x: np.ndarray) -> np.ndarray:
    """Values that encoding takes, for places that are not looked at."""
    first = prepared.levels.values[0] if prepared.levels is not None else None
    offset = np.broadcast_to(np.array(prepared.offset), prepared.event)
    return (np.full(prepared.event, first) if first is not None else offset).astype(x.dtype)
