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
