"""Errors a user can act on.

Every message is one paragraph: where, what was given, what was expected, what to do. The command
line prints the message without a traceback and ends with the class's exit code.
"""

from __future__ import annotations


class PrunellaError(Exception):
    """Base of all errors that prunella raises on purpose."""

    exit_code = 2


class InputError(PrunellaError, ValueError):
    """An argument, a configuration or a model cannot be used as given."""


class DataError(PrunellaError, ValueError):
    """Samples or labels cannot be used as given (empty, out of range, not finite, not disjoint)."""


class FileError(PrunellaError, ValueError):
    """A file is missing, damaged, or was made for something else."""


class BudgetError(PrunellaError, ValueError):
    """The budget cannot be met; the message names the smallest reachable value.

    Attributes:
        smallest: The smallest fraction that can be asked for, where it is known.
    """

    def __init__(self, message: str, *, smallest: float | None = None) -> None:
        super().__init__(message)
        self.smallest = smallest


class GraphError(PrunellaError, RuntimeError):
    """The model could not be traced, or has nothing that can be removed."""


class SurgeryError(PrunellaError, RuntimeError):
    """The small model does not compute what the masked original computes.

    Attributes:
        group: The group of channels that fails by itself; "" if none does.
    """

    exit_code = 1

    def __init__(self, message: str, *, group: str = "") -> None:
        super().__init__(message)
        self.group = group


class ExportError(PrunellaError, RuntimeError):
    """A file for another program cannot be run, or does not compute what the network computes."""

    exit_code = 1


class ProcessError(PrunellaError, RuntimeError):
    """Another process of a torch.distributed group failed; its own error says why."""

    exit_code = 1


class ConfigWarning(UserWarning):
    """The configuration object of a model cannot describe the small model and stays as it was."""
