"""Files that are whole or not there: a temporary name, fsync, rename; and tensors in files that know their own
checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from driftback.errors import BadInput, DamagedModel

PART = re.compile(r"\..+\.(\d+)\.part(\.\w+)?")
"""The names of the temporary files that `writing` makes, with the number of the process that writes."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it replaces `path` at once, else it is gone.

    A full disk, a forbidden folder or an interruption leaves the old file (or none) as it was. Missing folders are
    made.
    """
    temporary = path.with_name(f".{path.stem}.{get_ident()}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; nothing was left half-written") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


FORMAT = "2"
"""Since format 2 the checksum covers the facts too; a file of format 1, which had no number, covers its tensors."""


def checksum(tensors: Mapping[str, Tensor], about: str = "") -> str:
    """The SHA-256 of tensors on the CPU, with their names and shapes, and of facts `about` them."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object] | None = None) -> None:
    """Write tensors, facts `about` them (JSON) and their SHA-256 into one safetensors file, whole or not at all."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = json.dumps(about or {})
    header = {"about": facts, "format": FORMAT, "sha256": checksum(ready, FORMAT + facts)}
    with writing(path) as temporary:
        try:
            save_file(ready, temporary, metadata=header)
            _in_order(temporary)
            temporary.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner can read
        except SafetensorError as error:  # safetensors reports a full disk as its own error
            raise OSError(str(error)) from error


def _in_order(path: Path) -> None:
    """Sort the facts in the header of a safetensors file, whose order is another each time: two runs write one file."""
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
        file.seek(8)
        file.write(text.encode().ljust(size))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file and the facts about them. Raises DamagedModel, naming the file, if it is not what was
    written.
    """
    if not path.is_file():
        raise DamagedModel(f"{path} is missing; fit the model again, or copy the whole folder")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        number, facts = header.get("format"), header.get("about", "")
        if header.get("sha256") != checksum(tensors, "" if number is None else number + facts):
            raise DamagedModel(
                f"{path} is damaged (its SHA-256 does not match); restore it from a copy or fit the model again"
            )
        return tensors, json.loads(facts)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedModel(f"{path} is damaged ({error}); restore it from a copy or fit the model again") from error
