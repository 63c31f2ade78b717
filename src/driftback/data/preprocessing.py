"""Preprocessing: raw values to standardised tensors and back, fitted once and written with the model.

z = (x - offset) / scale, so log p(x) = log p(z) + log |dz/dx| with log |dz/dx| = -sum log scale. Pictures share one
offset and scale that map their declared range to [-1, 1]; points get the mean and standard deviation of each column.
"""

from __future__ import annotations

import difflib
import math
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from driftback.data.buckets import Buckets, named
from driftback.data.dataset import Dataset
from driftback.data.decimals import decimals_of, decimals_told
from driftback.data.extent import LARGEST, SCALE_DOWN, declared_range, refuse_not_finite, too_large
from driftback.data.fine import Grid, find_grid
from driftback.data.layouts import LAYOUTS, layout_of
from driftback.data.levels import Levels, distinct, find_levels
from driftback.data.rows import Stack, as_stack, blocks
from driftback.errors import BadInput


class Preprocessing(BaseModel):
    """What is done to the data, as numbers: a frozen record that goes through JSON and comes back the same.

    `event`, `layout` and `dtype` describe a raw item; `offset` and `scale` hold one number, or one per column (a scale
    of 0 marks a column that never changes); `levels` is the grid of discrete data, `grid` that of pictures of more
    values; `bounds` the range that pictures are
    clipped to; `whole` the columns that hold whole numbers; `decimals` how many places behind the point each column of
    a table has, None where they are too many to be meant; `columns` and `classes` the names that came with the data;
    `buckets` the shapes that pictures have on their canvas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    event: tuple[int, ...]
    layout: str
    dtype: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    levels: Levels | None = None
    grid: Grid | None = None
    bounds: tuple[float, float] | None = None
    whole: tuple[int, ...] = ()
    decimals: tuple[int | None, ...] = ()
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    buckets: Buckets | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """What a damaged file might say: sizes, names and lengths that no data has."""
        numbers = math.prod(self.event)
        wrong = {
            "kind": self.kind not in _FITS,
            "event": not self.event or min(self.event) < 1,
            "layout": self.layout not in LAYOUTS,
            "dtype": self.dtype not in DTYPES,
            "offset": len(self.offset) not in (1, numbers),
            "scale": len(self.scale) != len(self.offset) or min(self.scale, default=-1) < 0,
            "whole": any(not 0 <= j < len(self.scale) for j in self.whole),
            "decimals": len(self.decimals) not in (0, len(self.scale)),
            "columns": len(self.columns) not in (0, numbers),
            "buckets": self.buckets is not None and self.buckets.canvas != self.event[:2],
        }
        if bad := [name for name, is_wrong in wrong.items() if is_wrong]:
            raise ValueError(f"{bad[0]} cannot be {getattr(self, bad[0])}")
        return self

    @classmethod
    def fit(cls, dataset: Dataset) -> Self:
        """The preprocessing for `dataset`. Raises BadInput for no items, NaN, infinity, unknown shapes."""
        x = dataset.x
        layout = layout_of(dataset.event_shape)
        if not len(x) or not math.prod(dataset.event_shape):
            raise BadInput(f"{dataset.name} holds no values (shape {x.shape}): give at least one item")
        refuse_not_finite(x)
        if too_large(x):
            raise BadInput(f"{dataset.name} holds values beyond {LARGEST:g}, whose squares overflow: {SCALE_DOWN}")
        fitted = _FITS[dataset.kind](dataset)
        return cls(
            kind=dataset.kind,
            event=dataset.event_shape,
            layout=layout,
            dtype=x.dtype.name,
            columns=dataset.columns,
            classes=dataset.classes,
            buckets=dataset.buckets,
            **fitted,
        )

    @property
    def internal_event(self) -> tuple[int, ...]:
        """The shape of one encoded item: (d,) or (channels, height, width)."""
        return LAYOUTS[self.layout].inward(np.empty((1, *self.event), np.bool_)).shape[1:]

    @property
    def log_det(self) -> float:
        """The log |dz/dx| of one item in nats: log p(x) = log p(z) + log_det. Columns that never change add nothing."""
        repeat = math.prod(self.event) // len(self.scale)
        return -repeat * math.fsum(math.log(s) for s in self.scale if s)

    @property
    def level_values(self) -> np.ndarray | None:
        """The levels as encoded, in rising order, (count,) float64; None for continuous data."""
        return None if self.levels is None else (self.levels.values - self.offset[0]) / (self.scale[0] or 1.0)

    def encode(self, x: Any) -> Tensor:
        """Raw items (n, *event) as a float32 tensor (n, *internal_event).

        Raises BadInput for another shape, NaN or infinity, values off the levels or outside the range, and values so
        far from the data that float32 cannot hold them.
        """
        x = self.fitting(x)
        z = np.empty(x.shape, np.float32)
        # Bytes are looked up: there are only 256 of them.
        table = self._scaled(np.arange(256, dtype=np.uint8)[:, None])[:, 0] if self._by_table(x) else None
        for part in blocks(x):
            z[part] = self._scaled(x[part]) if table is None else table[x[part]]
            if not np.isfinite(z[part]).all():
                far = x[part][~np.isfinite(z[part])][0]
                raise BadInput(f"the value {far:g} is too far from the data that the model was fitted on: drop it")
        return torch.from_numpy(np.ascontiguousarray(LAYOUTS[self.layout].inward(z)))

    def fitting(self, x: Any) -> Stack:
        """Raw items (n, *event) as an array, or as they are on the disk, gone through block by block. Raises BadInput
        as `encode`, save for what float32 cannot hold.
        """
        x = as_stack(x)
        if x.shape[1:] != self.event or x.ndim != len(self.event) + 1:
            shapes = () if self.buckets is None else self.buckets.shapes
            known = f"pictures of {', '.join(map(named, shapes))} on a canvas" if shapes else "items"
            raise BadInput(
                f"the model knows {known} of shape {self.event}; these have shape {x.shape[1:]} "
                f"({len(x) if x.ndim else 1} of them): give {'a folder of pictures, or ' if shapes else ''}items of "
                "that shape"
            )
        if x.dtype.kind not in "biuf":
            raise BadInput(f"values must be numbers, not {x.dtype}")
        self._refuse(x)
        return x

    def decode(self, z: Tensor, bucket: np.ndarray | None = None) -> np.ndarray:
        """Encoded items (n, *internal_event) as raw ones (n, *event), in the dtype and the units of the data.

        Discrete data is rounded to the nearest level, pictures are clipped to their range, points are not clipped but
        rounded, to the data's decimals or else to what float32 can tell. Outside of their `bucket` (n,), where one is
        told, pictures are painted with the ground.
        """
        inside = z.detach().cpu().numpy()
        if inside.shape[1:] != self.internal_event:
            raise BadInput(f"encoded items have shape {self.internal_event}; these have shape {inside.shape[1:]}")
        raw = LAYOUTS[self.layout].outward(inside)
        offset, scale, dtype = np.array(self.offset), np.array(self.scale), np.dtype(self.dtype)
        x = np.empty(raw.shape, dtype)
        for part in blocks(raw):
            x[part] = self._settle(raw[part].astype(np.float64) * scale + offset, dtype)
        return x if bucket is None or self.buckets is None else self.buckets.painted(x, bucket)

    def label(self, name: object) -> int:
        """The index of the class called `name`. Raises BadInput, listing the classes, for one that is not known."""
        if str(name) in self.classes:
            return self.classes.index(str(name))
        if not self.classes:
            raise BadInput(f"there is no class {name}: the data that the model was fitted on had no labels")
        near = difflib.get_close_matches(str(name), self.classes, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        more = f" and {len(self.classes) - 20} more" if len(self.classes) > 20 else ""
        raise BadInput(f"there is no class {name}: {meant}known are {', '.join(self.classes[:20])}{more}")

    def labels(self, dataset: Dataset) -> np.ndarray | None:
        """The labels of other data as indices into this data's classes, (n,) int64, matched by name; None without."""
        if dataset.y is None or not self.classes:
            return None
        codes = np.zeros(len(dataset.classes), np.int64)
        for k in np.unique(dataset.y):
            codes[k] = self.label(dataset.classes[k])
        return codes[dataset.y]

    @property
    def _places(self) -> list[int | None]:
        """To how many decimals each column is rounded; None for one that never changes or has very odd units."""
        known = dict(enumerate(self.decimals)) | dict.fromkeys(self.whole, 0)
        return [decimals_told(s) if known.get(j) is None else known[j] for j, s in enumerate(self.scale)]

    def _settle(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if self.levels is not None:
            return self.levels.nearest(x)
        if self.bounds is not None:
            x = np.clip(x, *self.bounds) if self.grid is None else self.grid.within(x, *self.bounds)
        if self.kind == "points":
            for j, places in enumerate(self._places):
                if places is not None:
                    # Adding 0 turns -0 into 0.
                    x[:, j] = np.round(x[:, j], places) + 0.0
        if dtype.kind in "iu":
            # The nearest float below a 64-bit bound: the bound itself is not a float64 and would wrap round.
            info = np.iinfo(dtype)
            x = np.clip(np.rint(x), info.min, np.nextafter(float(info.max), 0) if dtype.itemsize == 8 else info.max)
        return x

    def _by_table(self, x: Stack) -> bool:
        return x.dtype == np.uint8 and len(self.scale) == 1

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        offset, scale = np.array(self.offset), np.array(self.scale)
        with np.errstate(over="ignore"):
            return ((x - offset) / np.where(scale == 0, 1.0, scale)).astype(np.float32)

    def _refuse(self, x: Stack) -> None:
        refuse_not_finite(x)
        if self._by_table(x):
            values = np.empty(0) if (found := distinct(x)) is None else found
            if not self._strange(values.astype(np.uint8))[0].any():
                return
        for part in blocks(x):
            bad, expected = self._strange(x[part])
            if bad.any():
                first = x[part][bad][0]
                more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
                raise BadInput(f"the value {first:g}{more} is not {expected}: give data in the same units")

    def _strange(self, x: np.ndarray) -> tuple[np.ndarray, str]:
        """Where `x` is not what the data were like, and what they were like."""
        if self.levels is not None:
            bad = ~self.levels.holds(x.astype(np.float64))
            return bad, f"on the {self.levels.count} levels {_span(self.levels)} of {FITTED}"
        if self.bounds is not None:
            low, high = self.bounds
            return (x < low) | (x > high), f"in the range {low:g} to {high:g} of {FITTED}"
        bad = (np.array(self.scale) == 0) & (x != np.array(self.offset).astype(x.dtype))
        return bad, f"equal to the one value that its column had in {FITTED}"


FITTED = "the data that the model was fitted on"

DTYPES = frozenset(np.dtype(code).name for code in "bhilqBHILQefd?")


def _span(levels: Levels) -> str:
    return f"{levels.start:g}, {levels.start + levels.step:g}, ..., {levels.values[-1]:g}"


def _fit_pictures(dataset: Dataset) -> dict[str, Any]:
    low, high = dataset.value_range or declared_range(dataset.x)
    levels = find_levels(dataset.x, low, high)
    return {
        "offset": ((low + high) / 2,),
        "scale": ((high - low) / 2 or 1.0,),
        "levels": levels,
        "grid": None if levels is not None else find_grid(dataset.x),
        "bounds": (low, high),
    }


def _fit_points(dataset: Dataset) -> dict[str, Any]:
    x = dataset.x
    low, high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
    mean = sum(x[part].sum(0, np.float64) for part in blocks(x)) / len(x)
    mean = np.where(low == high, low, mean)
    square = sum(((x[part] - mean) ** 2).sum(0) for part in blocks(x)) / len(x)
    levels = find_levels(x, low.min(), high.max()) if _shares_a_grid(low, high) else None
    if levels is not None:
        # One scale for all columns, so that the levels are one grid inside too.
        pooled = float(np.sqrt(np.mean(square + (mean - mean.mean()) ** 2)))
        return {"offset": (float(mean.mean()),), "scale": (pooled,), "levels": levels}
    scale = np.sqrt(square)
    # The square of a deviation under 1e-154 is 0, and only a column that never changes may have that scale.
    scale = np.where((scale == 0) & (low < high), high - low, scale)
    whole = [j for j in range(x.shape[1]) if all((x[part, j] == np.rint(x[part, j])).all() for part in blocks(x))]
    return {
        "offset": tuple(mean.tolist()),
        "scale": tuple(scale.tolist()),
        "whole": tuple(whole),
        "decimals": tuple(None if j in whole else decimals_of(x[:, j]) for j in range(x.shape[1])),
    }


def _shares_a_grid(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether columns look like one quantity (pixels, bits): half of those that change span half of all."""
    spans = (high - low)[high > low]
    return bool(len(spans)) and bool(np.median(spans) >= (high.max() - low.min()) / 2)


_FITS = {"points": _fit_points, "pictures": _fit_pictures}
