"""Arrays: numpy arrays, torch tensors and nested lists in memory, and .npy and .npz files.

(n,) and (n, d) are points; (n, h, w), (n, h, w, c) and (n, c, h, w) are pictures.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driftback.data.beside import as_known, beside, named_of
from driftback.data.dataset import Dataset, Finding, as_labels
from driftback.data.layouts import layout_of
from driftback.data.reader import Options, Reader, is_file
from driftback.errors import BadInput


def from_array(x: Any, name: str) -> Dataset:
    """Points or pictures from anything that numpy can see as an array of real numbers, (n, *event).

    Raises BadInput for other contents (text, objects, complex numbers, dates), masked values, and shapes that are
    neither.
    """
    if isinstance(x, np.ma.MaskedArray) and np.ma.getmaskarray(x).any():
        raise BadInput(f"{name} has {int(np.ma.getmaskarray(x).sum())} masked values: fill or drop these items")
    if isinstance(x, tuple) and len(x) == 2 and all(hasattr(part, "shape") for part in x) and x[0].shape != x[1].shape:
        raise BadInput(
            f"{name} is a pair of arrays: give items and labels one after the other, fit(X, y), not fit((X, y))"
        )
    if hasattr(x, "toarray"):
        raise BadInput(f"{name} is a sparse matrix: give x.toarray()")
    try:
        x = np.asarray(x)
    except ValueError:
        raise BadInput(f"{name} is ragged: its items differ in length; make them equally long") from None
    findings: list[Finding] = []
    x = _numbers(x, name, findings)
    if x.ndim == 0:
        raise BadInput(f"{name} is a single number: give an array with one row per item")
    if x.ndim == 1:
        findings.append(Finding("note", f"one-dimensional array: read as {len(x)} points with one coordinate", len(x)))
        x = x[:, None]
    if len(x) == 0:
        raise BadInput(f"{name} is empty (shape {x.shape}): give at least one item")
    kind = "points" if layout_of(x.shape[1:]) == "d" else "pictures"
    if 0 in x.shape:
        raise BadInput(f"{name} has items without values (shape {x.shape}): give at least one number per item")
    return Dataset(x, kind=kind, name=name, findings=tuple(findings))


def _numbers(x: np.ndarray, name: str, findings: list[Finding]) -> np.ndarray:
    if x.dtype.kind == "O":
        try:
            x = x.astype(np.float64)
        except (TypeError, ValueError):
            raise BadInput(
                f"{name} holds objects that are not all numbers: make it an array of floats or integers"
            ) from None
        findings.append(Finding("note", "an array of Python objects: read as float64"))
    if x.dtype.kind == "b":
        findings.append(Finding("note", "true and false: read as 1 and 0"))
        return x.astype(np.uint8)
    if x.dtype.kind not in "iuf":
        words = {
            "c": "complex numbers: give real and imaginary part as two columns",
            "M": "dates: give numbers",
            "m": "durations: give numbers",
            "V": "records: give one plain array",
        }
        raise BadInput(f"{name} holds {words.get(x.dtype.kind, 'text: give numbers')}")
    if x.dtype.itemsize > 8:
        return x.astype(np.float64)
    return np.asarray(x, x.dtype.newbyteorder("="))


def _is_array(source: Any) -> bool:
    return isinstance(source, (np.ndarray, torch.Tensor, list, tuple)) or hasattr(source, "toarray")


def _read_array(source: Any, options: Options) -> Dataset:
    return from_array(source.detach().cpu().float().numpy() if _is_bfloat16(source) else _on_cpu(source), "array")


def _is_bfloat16(source: Any) -> bool:
    return isinstance(source, torch.Tensor) and source.dtype == torch.bfloat16


def _on_cpu(source: Any) -> Any:
    return source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else source


def _read_file(source: Any, options: Options) -> Dataset:
    path = Path(source)
    try:
        # Opened here, because numpy leaves a damaged archive open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = loaded if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"cannot read {path}: {_why(error)}") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if isinstance(arrays, np.ndarray):
        if asked := [name for name in (options.label, options.caption, *(options.numbers or ())) if name is not None]:
            what = "labels" if options.label is not None else "captions" if options.caption is not None else "numbers"
            raise BadInput(
                f"{path} is one array without names, so it has no {what} {asked[0]!r}: save all arrays as one .npz"
            )
        named_of({}, options, path)
        return from_array(arrays, path.name)
    return _from_named(arrays, path, options)


def _why(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else "it is empty"
    if "allow_pickle" in text:
        return "it holds Python objects or is no numpy file; save plain numbers with np.save"
    return f"damaged or no numpy file ({text})"


def _from_named(arrays: dict[str, np.ndarray], path: Path, options: Options) -> Dataset:
    listed = ", ".join(f"{key} {a.shape}" for key, a in arrays.items()) or "nothing"
    if options.label is not None and options.label not in arrays:
        raise BadInput(f"{path} has no array named {options.label} for the labels; it holds {listed}")
    alike = options.alike.label if options.alike else None
    named = options.label or (alike if alike in arrays else None) or "y"
    options = as_known(arrays, options)
    extras = named_of(arrays, options, path)
    data = {key: a for key, a in arrays.items() if key not in (named, *extras)}
    key = "x" if "x" in data else next(iter(data)) if len(data) == 1 else None
    if key is None:
        raise BadInput(f"{path} needs an array named x (and y for labels), or just one array; it holds {listed}")
    dataset = from_array(arrays[key], path.name)
    labels = arrays.get(named)
    if labels is not None:
        y, classes = as_labels(labels, len(dataset))
        dataset = Dataset(dataset.x, y, dataset.kind, classes, name=path.name, findings=dataset.findings)
    return beside(
        dataset,
        caption=None if options.caption is None else arrays[options.caption],
        numbers={name: arrays[name] for name in options.numbers or ()} or None,
        group=None if options.group is None else arrays[options.group],
    )


TAKES = frozenset({"label", "caption", "numbers", "group"})
ARRAY = Reader("a numpy array, a torch tensor or nested lists", _is_array, _read_array)
FILE = Reader("a .npy or .npz file", lambda source: is_file(source, ".npy", ".npz"), _read_file, TAKES)
