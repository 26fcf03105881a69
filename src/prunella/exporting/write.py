"""From a network to a file for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from prunella.core.errors import ExportError, InputError
from prunella.exporting.check import (
    ExportCheck,
    compare_written,
    cpu_copy,
    expected_outputs,
    file_format,
    words,
)
from prunella.exporting.formats import Format, encode, exporters_quiet
from prunella.exporting.inputs import Inputs, dynamic_batch
from prunella.exporting.packages import require_onnx
from prunella.files.atomic import write_atomically

_EXAMPLE = 2  # samples; torch.export takes an axis of length 1 to be always so


def export(
    model: nn.Module,
    inputs: object,
    path: str | Path,
    *,
    keywords: Mapping[str, object] | None = None,
) -> ExportCheck:
    """Write a network as ONNX or .pt2 file that takes batches of any size, and check the file.

    Before the file gets its name it is run, ONNX by ONNX Runtime and .pt2 by
    torch.export.load, on the CPU in batches of 1, of N / 2 and of N of the inputs, and must
    give what the network gives up to rounding. An existing file is replaced only then.

    Args:
        model: Any module that torch.export can trace, pruned or not; untouched.
        inputs: Held-out inputs (N, ...), a sequence of positional arguments, or a dictionary of
            keyword arguments (in a tuple of one, if the model takes a dictionary). Tensors whose
            first axis is as long as the first tensor's hold one row for each sample; the others,
            and what is no tensor, are the same for every batch. None of them is in the file,
            except for numbers, texts and the like.
        path: Ends in .onnx or .pt2.
        keywords: Keyword arguments, likewise.

    Returns:
        Size of the file and the largest differences.

    Raises:
        InputError: the ending is another, the packages for ONNX are missing, or the network cannot
            be run or traced on the inputs.
        ExportError: the file cannot be run, or computes something else.
        FileError: the file cannot be written.
    """
    path = Path(path)
    kind = file_format(path)
    if kind == "onnx":
        require_onnx()
    samples = Inputs.of(inputs, keywords)
    own = cpu_copy(model)
    expected = expected_outputs(own, samples)
    content = _encoded(own, samples, kind)
    checks: list[ExportCheck] = []

    def write(part: Path) -> None:
        part.write_bytes(content)
        check = compare_written(own, expected, samples, part, path)
        _require_agreement(check, own)
        checks.append(check)

    write_atomically(path, write)
    return checks[0]


def _encoded(model: nn.Module, inputs: Inputs, kind: Format) -> bytes:
    """The content of the file.

    Raises:
        InputError: torch.export or torch.onnx refuse the network.
    """
    name = type(model).__name__
    try:
        program = _traced(model, inputs.batch(_EXAMPLE))
    except Exception as error:  # torch.export has no common class for what it refuses
        raise InputError(
            f"{name} cannot be exported: torch.export cannot trace it for any batch size "
            f"({words(error)}). Its forward must not depend on the values of tensors, and must "
            "take the batch size from its inputs."
        ) from error
    try:
        return encode(program, kind)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{name} cannot be exported as .{kind} ({words(error)}). Take another format, or "
            "replace the operation that it does not know."
        ) from error


def _traced(model: nn.Module, example: Inputs) -> ExportedProgram:
    with torch.no_grad(), exporters_quiet():
        try:
            program = _trace(model, example, strict=False)
        except Exception as refused:
            # Reading the code instead of running it is slower and takes, for instance, len(x).
            try:
                program = _trace(model, example, strict=True)
            except Exception:
                raise refused from refused.__cause__
    # The file is for others: no samples and no places on this machine.
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _trace(model: nn.Module, example: Inputs, *, strict: bool) -> ExportedProgram:
    return torch.export.export(
        model,
        example.arguments,
        dict(example.keywords),
        dynamic_shapes=dynamic_batch(model, example),
        strict=strict,
    )


def _require_agreement(check: ExportCheck, model: nn.Module) -> None:
    if not check.agrees:
        raise ExportError(
            f"{check.path}: was not written, because the file computes something else than "
            f"{type(model).__name__} does in evaluation mode: outputs differ by "
            f"{check.relative_difference:.2g} relative to the largest, at most "
            f"{check.tolerance:g} is rounding. Does its forward draw at random or count its calls? "
            "If not, try the other format or other versions, and please report this model."
        )
