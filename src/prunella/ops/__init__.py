"""Reading the ATen calls of an ordinary forward pass: which stored tensors they use, and how."""

from prunella.ops.contractions import Contraction, contraction_of
from prunella.ops.copies import copy_module, empty_containers
from prunella.ops.fakes import (
    NEEDS_VALUES,
    Stand,
    Tensors,
    copying,
    empty_on_meta,
    evaluate,
    evaluation_copy,
    inputs_for,
    standing,
    without_values,
)
from prunella.ops.gradients import (
    derivative_of,
    judged_outputs,
    requiring_gradients,
    signed_sum,
)
from prunella.ops.plain import PlainCall, plain_calls
from prunella.ops.rows import (
    Places,
    has_plain_rows,
    input_view,
    output_view,
    random_places,
    rows_at,
)
from prunella.ops.shapes import result_on_meta
from prunella.ops.storage import StoredTensors, View
from prunella.ops.walks import modules_of, paths_of, tensors_of
from prunella.ops.watching import CallWatcher
from prunella.ops.windows import windows

__all__ = [
    "NEEDS_VALUES",
    "CallWatcher",
    "Contraction",
    "Places",
    "PlainCall",
    "Stand",
    "StoredTensors",
    "Tensors",
    "View",
    "contraction_of",
    "copy_module",
    "copying",
    "derivative_of",
    "empty_containers",
    "empty_on_meta",
    "evaluate",
    "evaluation_copy",
    "has_plain_rows",
    "input_view",
    "inputs_for",
    "judged_outputs",
    "modules_of",
    "output_view",
    "paths_of",
    "plain_calls",
    "random_places",
    "requiring_gradients",
    "result_on_meta",
    "rows_at",
    "signed_sum",
    "standing",
    "tensors_of",
    "windows",
    "without_values",
]
