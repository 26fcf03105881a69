"""The packages of the extra `onnx`, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from prunella.core.errors import InputError

_ONNX = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise InputError unless ONNX files can be written and run."""
    for name in _ONNX:
        onnx_package(name)


def onnx_package(name: str) -> Any:
    """One of the packages onnx, onnxscript and onnxruntime.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"ONNX files need the packages {', '.join(_ONNX[:-1])} and {_ONNX[-1]}, but {name} "
            f"cannot be imported ({error}); install them with: pip install 'prunella[onnx]'"
        ) from None
