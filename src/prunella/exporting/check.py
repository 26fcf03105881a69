"""Does a written file compute what the network computes?"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunella.core.errors import ExportError, InputError
from prunella.core.modes import evaluating
from prunella.exporting.formats import FORMATS, Format, open_written
from prunella.exporting.inputs import Inputs

_TOLERANCE = 1e-4
_ROUNDINGS = 16  # of the coarsest type, that may add up in types of half precision
_LONGEST = 240  # characters of a cause
_TORCH = str(Path(torch.__file__).parent)
_NOISE = re.compile(r"\x1b\[\d*m|For more information, run with TORCH_LOGS=\S+")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCheck:
    """A written file beside the network in PyTorch, on the same inputs.

    Attributes:
        path: The file.
        bytes: Its size.
        opset: Version of ONNX's operators it uses; None for .pt2.
        batches: Batch sizes that were compared.
        absolute_difference: Largest difference between two outputs.
        relative_difference: For each output tensor the largest difference divided by its largest
            absolute value; the largest of these. Infinite if an output has another shape or type,
            or integers differ.
        tolerance: Largest relative difference that counts as rounding: 1e-4, more for types of
            half precision.
    """

    path: Path
    bytes: int
    opset: int | None
    batches: tuple[int, ...]
    absolute_difference: float
    relative_difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the outputs differ by no more than rounding."""
        return self.relative_difference <= self.tolerance


def compare_exported(
    model: nn.Module,
    path: str | Path,
    inputs: object,
    *,
    keywords: Mapping[str, object] | None = None,
) -> ExportCheck:
    """Run a written file and the network it was made from on the same inputs, on the CPU.

    Args:
        model: The network; untouched.
        path: A file ending in .onnx, run by ONNX Runtime, or in .pt2, run by PyTorch. Give no .pt2
            file of strangers: PyTorch's reader can run code that lies in it.
        inputs: Held-out inputs, as for `export`; compared in batches of 1, of N / 2 and of N.
        keywords: Keyword arguments.

    Raises:
        InputError: the ending is another, the packages for ONNX are missing, or the network cannot
            be run on the inputs.
        ExportError: the file cannot be run.
    """
    path = Path(path)
    samples = Inputs.of(inputs, keywords)
    own = cpu_copy(model)
    return compare_written(own, expected_outputs(own, samples), samples, path, path)


def file_format(path: Path) -> Format:
    """The format that the ending of a file stands for.

    Raises:
        InputError: none.
    """
    for known in FORMATS:
        if path.suffix == f".{known}":
            return known
    raise InputError(f"{path}: the ending says the format of an export; expected .onnx or .pt2.")


def cpu_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU, so that a file depends on no device, in evaluation mode.

    Raises:
        InputError: the network cannot be copied.
    """
    try:
        return copy.deepcopy(model).cpu().eval()
    except Exception as error:  # the model's own code may raise anything
        raise InputError(
            f"{type(model).__name__} cannot be copied for the export ({words(error)}); take what "
            "is no part of the network, such as results of earlier runs, out of the module."
        ) from error


def expected_outputs(
    model: nn.Module,  # on the CPU
    inputs: Inputs,
) -> dict[int, list[Tensor]]:
    """All output tensors for each batch size that is compared.

    Raises:
        InputError: the network cannot be run on the inputs, returns no tensor, or only
            empty ones.
    """
    name = type(model).__name__
    expected = {}
    with evaluating(model), torch.random.fork_rng():
        for size in inputs.sizes:
            batch = inputs.batch(size)
            try:
                outputs = model(*batch.arguments, **batch.keywords)
            except Exception as error:  # the model's own code may raise anything
                raise InputError(
                    f"{name} cannot be run on a batch of {size} of the inputs for the export "
                    f"({words(error)}); give inputs of the shape and type that it expects, for "
                    "any number of samples."
                ) from error
            expected[size] = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
            if not expected[size]:
                raise InputError(
                    f"{name} returned {type(outputs).__name__} without tensors; expected tensors, "
                    "perhaps in lists, tuples and dictionaries."
                )
    if not any(tensor.numel() for outputs in expected.values() for tensor in outputs):
        raise InputError(
            f"{name} gives outputs without a single number for these inputs, so a written file "
            "could not be compared with it; give inputs in which it finds something."
        )
    return expected


def compare_written(
    model: nn.Module,
    expected: Mapping[int, list[Tensor]],  # batch size -> output tensors
    inputs: Inputs,
    part: Path,
    path: Path,
) -> ExportCheck:
    """Compare the file at `part`, whose final name is `path`, with what is expected of it.

    Raises:
        ExportError: the file cannot be run.
    """
    kind = file_format(path)
    absolute = relative = 0.0
    try:
        written = open_written(part, kind)
        found = {size: written.run(inputs.batch(size)) for size in expected}
    except InputError:
        raise
    except Exception as error:  # runtimes raise classes of their own
        runtime = "ONNX Runtime" if kind == "onnx" else "torch.export.load"
        raise ExportError(
            f"{path}: {runtime} cannot run the file of {type(model).__name__} ({words(error)}); "
            "the network uses something that this format or its runtime does not know. Try the "
            "other format, or newer versions."
        ) from error
    for size, outputs in expected.items():
        apart, share = _differences(found[size], outputs)
        absolute, relative = max(absolute, apart), max(relative, share)
    return ExportCheck(
        path=path,
        bytes=part.stat().st_size,
        opset=written.opset,
        batches=tuple(expected),
        absolute_difference=absolute,
        relative_difference=relative,
        tolerance=_tolerance(model, inputs),
    )


def words(error: BaseException) -> str:
    """What an error, or the first cause of it, says: one line of bearable length, and the place.

    Exporters wrap what went wrong in pages of advice on their own debugging.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error)
    text = " ".join([f"{type(error).__name__}:", *_NOISE.sub("", said).split()])
    frames = re.findall(r'File "([^"]+)", line (\d+)', said)
    theirs = [f"{file}:{line}" for file, line in frames if not file.startswith(_TORCH)]
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{short} at {theirs[-1]}" if theirs else short


def _differences(found: list[Tensor], expected: list[Tensor]) -> tuple[float, float]:
    """Largest absolute, and largest relative difference."""
    if [(t.shape, t.dtype) for t in found] != [(t.shape, t.dtype) for t in expected]:
        return math.inf, math.inf
    absolute = relative = 0.0
    for a, b in zip(found, expected, strict=True):
        if not b.numel():
            continue
        if b.is_complex():
            a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
        exact = not b.dtype.is_floating_point
        a, b = a.double(), b.double()
        alike = (a == b) | (a.isnan() & b.isnan())
        apart = (a - b).abs().nan_to_num(math.inf, posinf=math.inf).masked_fill(alike, 0)
        worst = float(apart.max())
        scale = float(b.abs().masked_fill(~b.isfinite(), 0).max())
        share = worst / scale if scale > 0 else worst
        absolute = max(absolute, worst)
        relative = max(relative, math.inf if exact and worst > 0 else share)
    return absolute, relative


def _tolerance(model: nn.Module, inputs: Inputs) -> float:
    tensors = (*model.parameters(), *model.buffers(), *inputs.tensors)
    coarsest = max(
        (torch.finfo(t.dtype).eps for t in tensors if t.dtype.is_floating_point), default=0.0
    )
    return max(_TOLERANCE, _ROUNDINGS * coarsest)
