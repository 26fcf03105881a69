"""Writing a traced network in each format, and running what was written."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from prunella.core.errors import InputError
from prunella.exporting.inputs import Inputs
from prunella.exporting.packages import onnx_package, require_onnx

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ONNX_LIMIT = 2**31 - 2**20  # bytes of a protocol buffer, less some for the graph
_TALKATIVE = ("torch", "torch.export", "torch.onnx", "torch.fx", "torch._dynamo", "torch._export",
              "torch.fx.experimental.symbolic_shapes", "onnx_ir", "onnxscript")  # fmt: skip
_KNOWN_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    (".*LeafSpec.*", FutureWarning),  # torch uses what it has deprecated
    (".*_flat_weights.*", UserWarning),  # recurrent layers keep a second list of their weights
)

Runner = Callable[[Inputs], list[Tensor]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Written:
    """A file that can be run.

    Attributes:
        run: From inputs to all output tensors, in order.
        opset: Version of ONNX's operators; None for other formats.
    """

    run: Runner
    opset: int | None


def encode(program: ExportedProgram, file_format: Format) -> bytes:
    """The content of a file.

    Raises:
        InputError: the packages for ONNX are missing, or the network is too large for the format.
    """
    return _encode_onnx(program) if file_format == "onnx" else _encode_pt2(program)


def open_written(path: Path, file_format: Format) -> Written:
    """Read a file for running; whatever its runtime raises comes through."""
    return _open_onnx(path) if file_format == "onnx" else _open_pt2(path)


def onnx_session(path: Path) -> Any:
    """An ONNX Runtime session on the CPU, with as many threads as PyTorch has."""
    runtime = onnx_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised as well
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_feed(session: Any, inputs: Inputs) -> dict[str, Any]:
    """Arrays by the names of an ONNX file's inputs."""
    names = [node.name for node in session.get_inputs()]
    arrays = [tensor.detach().cpu().numpy() for tensor in inputs.tensors]
    if len(names) != len(arrays):
        raise ValueError(f"it has {len(names)} inputs, but {len(arrays)} tensors were given")
    return dict(zip(names, arrays, strict=True))


def _encode_onnx(program: ExportedProgram) -> bytes:
    require_onnx()
    stored = [*program.state_dict.values(), *program.constants.values()]
    size = sum(t.numel() * t.element_size() for t in stored if isinstance(t, Tensor))
    if size > _ONNX_LIMIT:
        raise InputError(
            f"the network has {size:,} bytes of weights, but one ONNX file holds at most "
            f"{_ONNX_LIMIT:,}; write a .pt2 file."
        )
    with exporters_quiet():
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model: Any = exported.model_proto
    # How the graph came about, with the names of classes: of no use to whoever runs the file.
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.value_info, *model.graph.initializer, *model.functions):  # fmt: skip
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    _name_batch_axis(model.graph)
    content: bytes = model.SerializeToString()
    return content


def _name_batch_axis(graph: Any) -> None:
    """Call the free size "batch" where torch.onnx calls it after a symbol, such as s77."""
    values = (*graph.input, *graph.output, *graph.value_info)
    shapes = [value.type.tensor_type.shape.dim for value in values]
    symbols = [shape[0].dim_param for shape in shapes if len(shape) and shape[0].dim_param]
    for dim in (dim for shape in shapes for dim in shape if dim.dim_param):
        dim.dim_param = re.sub(rf"\b{symbols[0]}\b", "batch", dim.dim_param)


def _encode_pt2(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    with exporters_quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


def _open_onnx(path: Path) -> Written:
    session = onnx_session(path)
    model = onnx_package("onnx").load(path, load_external_data=False)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))

    def run(inputs: Inputs) -> list[Tensor]:
        return [torch.as_tensor(array) for array in session.run(None, onnx_feed(session, inputs))]

    return Written(run=run, opset=opset)


def _open_pt2(path: Path) -> Written:
    with path.open("rb") as file, exporters_quiet():
        module = torch.export.load(file).module()

    def run(inputs: Inputs) -> list[Tensor]:
        with torch.no_grad(), torch.random.fork_rng():
            outputs = module(*inputs.arguments, **inputs.keywords)
        return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]

    return Written(run=run, opset=None)


@contextmanager
def exporters_quiet() -> Iterator[None]:
    """Without what PyTorch's exporters say about their own work; errors are raised anyway."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message, category in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            # torch.export prints the graph of what it refuses.
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
