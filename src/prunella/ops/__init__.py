"""Reading the ATen calls of an ordinary forward pass: which stored tensors they use, and how."""

from prunella.ops.contractions import Contraction, contraction_of
from prunella.ops.copies import copy_module, empty_containers
from prunella.ops.fakes import (
    NEEDS_VALUES,
    Stand,
    Tensors,
    evaluation_copy,
    standing,
    without_values,
)
from prunella.ops.plain import PlainCall, plain_calls
from prunella.ops.shapes import result_on_meta
from prunella.ops.storage import StoredTensors, View
from prunella.ops.watching import CallWatcher
from prunella.ops.windows import windows

__all__ = [
    "NEEDS_VALUES",
    "CallWatcher",
    "Contraction",
    "PlainCall",
    "Stand",
    "StoredTensors",
    "Tensors",
    "View",
    "contraction_of",
    "copy_module",
    "empty_containers",
    "evaluation_copy",
    "plain_calls",
    "result_on_meta",
    "standing",
    "windows",
    "without_values",
]
