"""Reading the ATen calls of an ordinary forward pass: which stored tensors they use, and how."""

from prunella.ops.contractions import Contraction, contraction_of
from prunella.ops.fakes import NEEDS_VALUES, evaluation_copy
from prunella.ops.plain import PlainCall, plain_calls
from prunella.ops.storage import StoredTensors, View
from prunella.ops.windows import windows

__all__ = [
    "NEEDS_VALUES",
    "Contraction",
    "PlainCall",
    "StoredTensors",
    "View",
    "contraction_of",
    "evaluation_copy",
    "plain_calls",
    "windows",
]
