"""A user's Python file: it is run, and what it defines is handed back; its mistakes are told with their line in it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from driftback.errors import BadInput

MODULE = "driftback_users_file"


def names_in(path: Path, again: str) -> dict[str, Any]:
    """What the file at `path` defines, by name. This runs it. BadInput in one line, with what to do `again`."""
    spec = importlib.util.spec_from_file_location(MODULE, path.resolve())
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} is no Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[MODULE] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    # As when Python runs it, it may import what lies beside it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise told(path, error, "when it was run", again) from error
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(path.resolve().parent))
    return vars(module)


def told(path: Path, error: BaseException, when: str, again: str) -> BadInput:
    """The `error` that came out of the file at `path`, as one line."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == path.resolve():
            line = frame.lineno
    where = f"{path}, line {line}" if line else str(path)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return BadInput(f"{where}: {type(error).__name__} {when}: {said}; correct it and {again}")


def line_of(thing: Any) -> int | None:
    """The line in its file where a function or a class begins."""
    code = getattr(thing, "__code__", None) or getattr(getattr(thing, "__init__", None), "__code__", None)
    return code.co_firstlineno if code else None
