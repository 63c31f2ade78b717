"""Errors that a person can act on: one line that names the culprit and the next step.

Everything that a user's input can provoke raises `DriftbackError`; the command line prints its one line on
standard error and exits with its `code`, so no traceback reaches a user.
"""


class DriftbackError(Exception):
    """A mistake in the input or the surroundings, told in one line: what is wrong, and what to do next."""

    code = 1


class BadInput(DriftbackError, ValueError):
    """The data, an argument or an option cannot be used as given."""

    code = 2


class DamagedModel(DriftbackError):
    """A model directory is missing, incomplete, damaged, or of a version that this library cannot read."""

    code = 3


class TrainingStopped(DriftbackError):
    """Training could not go on (a loss that is not finite, memory that does not suffice even for one item)."""

    code = 4


class NotFinite(DriftbackError):
    """A model gave values that are NaN or infinite: its training diverged, or its weights were spoilt since."""

    code = 5


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: Python's own, torch's on a GPU, or the bare RuntimeError of torch's
    allocator on a CPU.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATORS)


_ALLOCATORS = ("can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What torch's CPU allocator says on Unix and on Windows, and what CUDA's libraries say."""
