"""IDX files, the format of MNIST: a big-endian header of shape and type, then the raw numbers, often gzipped.

Bytes 0 and 1 are zero, byte 2 is the type, byte 3 the number of axes; then one 32-bit length per axis (LeCun, Cortes
and Burges 1998, 'The MNIST database of handwritten digits').
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftback.data.arrays import from_array
from driftback.data.dataset import Dataset, Finding, as_labels
from driftback.data.reader import Options, Reader, is_path, read_bytes
from driftback.errors import BadInput

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"idx\d+(-ubyte)?(\.gz)?$|\.idx\d*(\.gz)?$", re.IGNORECASE)


def accepts(source: Any) -> bool:
    """Whether `source` is named like an IDX file (train-images-idx3-ubyte, t10k-images.idx3-ubyte.gz, x.idx)."""
    return is_path(source) and NAME.search(Path(source).name) is not None and not Path(source).is_dir()


def read(source: Any, options: Options) -> Dataset:
    """The array in an IDX file; the labels are taken from `...-labels-idx1-ubyte` beside `...-images-idx3-ubyte`."""
    path = Path(source)
    x = read_array(path)
    dataset = from_array(x, path.name)
    if x.ndim == 1 and "label" in path.name.lower():
        raise BadInput(f"{path} holds labels: give the file of the pictures, its labels are found by themselves")
    labels = labels_beside(path)
    if labels is None:
        return dataset
    y, classes = as_labels(read_array(labels), len(dataset))
    found = Finding("note", f"labels read from {labels.name}: {len(classes)} classes", len(y), (str(labels),))
    return replace(dataset, y=y, classes=classes, findings=(*dataset.findings, found))


def labels_beside(path: Path) -> Path | None:
    """The file of the labels that belong to a file of pictures, packed or not; None where there is none."""
    stem = re.sub(r"\.gz$", "", path.name)
    name = re.sub(r"images([-.])idx\d", r"labels\1idx1", stem)
    found = [path.with_name(name + end) for end in ("", ".gz")] if name != stem else []
    return next((file for file in found if file.is_file()), None)


def read_array(path: Path) -> np.ndarray:
    """The numbers in an IDX file. Raises BadInput where header and size do not agree."""
    head = read_bytes(path, 4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not head[3]:
        raise BadInput(f"{path} is no IDX file (it starts with {head.hex(' ') or 'nothing'}, not 00 00 and a type)")
    dtype, start = np.dtype(TYPES[head[2]]), 4 + 4 * head[3]
    lengths = read_bytes(path, start)[4:]
    if len(lengths) < start - 4:
        raise BadInput(f"{path} ends within its header: copy or download it again")
    shape = tuple(np.frombuffer(lengths, ">u4").tolist())
    size = math.prod(shape) * dtype.itemsize
    # One byte more than expected: a longer file is noticed, and a damaged header cannot fill the memory.
    body = read_bytes(path, start + size + 1)[start:]
    if len(body) != size:
        has = "more" if len(body) > size else f"{len(body):,}"
        raise BadInput(f"{path} says {size:,} bytes for shape {shape} and has {has}: copy or download it again")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


READER = Reader("an IDX file such as train-images-idx3-ubyte (.gz too)", accepts, read)
