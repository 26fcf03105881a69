"""The labelled run: one forward pass on fake tensors under a dispatch mode."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

import prunella.graph.rules  # noqa: F401  (fills the registry)
from prunella.core.errors import GraphError, InputError
from prunella.core.inputs import Inputs, tensors_in
from prunella.core.modes import attention_in_parts, full_precision
from prunella.core.types import ChannelGraph, ChannelGroup, StoredTensor
from prunella.graph.call import RULES, Call
from prunella.graph.groups import groups_of
from prunella.graph.labels import Labels
from prunella.graph.moves import Moves
from prunella.graph.rules.contract import freeze_all
from prunella.graph.widths import freeze_lost_splits
from prunella.graph.work import macs_of
from prunella.ops import (
    NEEDS_VALUES,
    CallWatcher,
    Stand,
    StoredTensors,
    Tensors,
    evaluation_copy,
    paths_of,
    result_on_meta,
    standing,
    without_values,
)

_OWN = tuple(
    str(Path(__file__).parents[1] / part) for part in ("graph", "tracing.py", "ops", "surgery")
)
_RUNS_MODULE = nn.Module._call_impl.__code__
_MOST_TOLD = 12
_TORCH = f"{Path(torch.__file__).parent}/"


def trace(model: nn.Module, example_inputs: object, *, through_norms: bool = False) -> ChannelGraph:
    """Find every group of channels that can be removed together, and why others cannot.

    The model is copied onto fake tensors, which hold shapes but no memory, and run once; the given
    model is not touched.

    Args:
        model: Any module; parameters may be on any device, the meta device too.
        example_inputs: A tensor, a sequence of positional arguments, or a dictionary of keyword
            arguments. The first axis is the sample; one sample makes multiply-adds read per sample.
        through_norms: Whether channels that a layer norm mixes may be removed too. What remains
            is then normalised differently, so the small network is not the masked one.

    Returns:
        The graph; frozen groups carry their reason.

    Raises:
        InputError: the model cannot be run on the example inputs, or has no parameters.
    """
    return trace_and_run(model, Inputs.of(example_inputs), through_norms=through_norms)[0]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """What was run, and what came out.

    Attributes:
        tensors: What stood for the model's tensors.
        outputs: What the model returned.
        labels: What was learnt.
        moves: How channels were viewed and divided.
    """

    tensors: Tensors
    outputs: object
    labels: Labels
    moves: Moves


def trace_and_run(
    model: nn.Module, inputs: Inputs, *, through_norms: bool = False
) -> tuple[ChannelGraph, Run]:
    """As `trace`, with the run that told it."""
    if next(model.parameters(), None) is None:
        raise InputError(f"{type(model).__name__} has no parameters, so there is nothing to prune.")
    run = without_values(
        lambda tensors: _labelled_run(model, inputs, tensors, through_norms=through_norms)
    )
    labels = run.labels
    for leaf in tensors_in(run.outputs):
        known = labels.get(leaf)
        if known is not None:
            labels.freeze(known, "is an output of the model")
    freeze_lost_splits(labels, model)
    tensors = _stored_tensors(labels, model)
    counted = sum(tensor.macs for tensor in tensors)
    graph = ChannelGraph(
        groups=groups_of(labels),
        tensors=tensors,
        other_macs=labels.macs - counted,
        inputs=inputs.detached(),
        model_type=type(model).__name__,
    )
    labels.let_go()
    return graph, run


def _labelled_run(
    model: nn.Module, inputs: Inputs, tensors: Tensors, *, through_norms: bool
) -> Run:
    """Run a copy of the model on labels."""
    copied, moved = evaluation_copy(model, inputs, tensors=tensors)
    labels = Labels(StoredTensors(copied), through_norms=through_norms)
    paths = paths_of(copied)
    _leave_recurrent(labels, paths)
    precision = full_precision(next(model.parameters()).device)
    on_meta = tensors is Stand.META
    names = {id(module): path for path, module in paths}
    with torch.no_grad(), attention_in_parts(), precision:
        try:
            # Not around the rules, whose labels are real: the mode enters fakes for each call.
            around = standing(tensors, quick=False) if on_meta else nullcontext()
            mode = _LabelMode(labels, tensors, names, Moves(paths))
            with around, mode:
                outputs = copied(*moved.args, **moved.kwargs)
        except NEEDS_VALUES:
            raise
        except Exception as error:  # the model's own code may raise anything
            raise InputError(
                f"{type(model).__name__} cannot be run on the example inputs (shapes "
                f"{inputs.words()}): {error} Give inputs of the shape and type the model expects."
            ) from error
    return Run(tensors=tensors, outputs=outputs, labels=labels, moves=mode.moves)


def _leave_recurrent(labels: Labels, paths: list[tuple[str, nn.Module]]) -> None:
    """A hidden state is read at every step, by weights that torch keeps in one flat piece."""
    for path, module in paths:
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            reason = f"recurrent layers are left whole ({path or type(module).__name__})"
            for parameter in module.parameters():
                for name in labels.stored.names(parameter):
                    labels.freeze_stored(name, reason)


class _LabelMode(CallWatcher):
    """Sends every ATen call to its rule."""

    def __init__(
        self, labels: Labels, tensors: Tensors, names: dict[int, str], moves: Moves
    ) -> None:
        super().__init__()
        self.labels = labels
        self.tensors = tensors
        self.names = names
        self.moves = moves

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.tensors is Stand.META:
            out = result_on_meta(func, args, kwargs)
        else:
            with standing(self.tensors):
                out = func(*args, **kwargs)
        operation, has_macs = _known(func)
        macs = macs_of(func, args, kwargs, out) if has_macs else 0
        self.labels.macs += macs
        call = Call(
            func=func,
            operation=operation,
            args=args,
            kwargs=kwargs,
            out=out,
            macs=macs,
            module=self._module,
            where=self._where,
        )
        self._label(call)
        self.moves.note(call, self.labels)
        return out

    def _label(self, call: Call) -> None:
        if not call.outputs or all(self.labels.stored.holds(out) for out in call.outputs):
            return  # a view of a stored tensor is recognised by its memory later on
        rule = RULES.get(call.operation)
        if rule is not None:
            try:
                rule(call, self.labels)
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                # One operation in an unforeseen form must not stop the rest from being pruned.
                freeze_all(call, self.labels, f"a form of the operation without a rule ({error})")
            return
        touched = any(
            self.labels.get(tensor) is not None or self.labels.stored.holds(tensor)
            for tensor in call.tensors()
        )
        if touched:
            freeze_all(call, self.labels, "no rule is known for the operation")

    def _module(self) -> str:
        frame = _frame_of(lambda code: code is _RUNS_MODULE)
        return "" if frame is None else self.names.get(id(frame.f_locals.get("self")), "")

    def _where(self) -> str:
        module = self._module() or "the model"
        frame = _frame_of(_is_the_models)
        if frame is None:
            return module
        return f"{module} ({_file_name(frame.f_code)}:{frame.f_lineno})"


def _frame_of(wanted: Callable[[CodeType], bool]) -> FrameType | None:
    """The innermost frame whose code is wanted."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not wanted(frame.f_code):
        frame = frame.f_back
    return frame


@lru_cache(maxsize=4096)
def _is_the_models(code: CodeType) -> bool:
    return not code.co_filename.startswith((*_OWN, _TORCH))


@lru_cache(maxsize=4096)
def _file_name(code: CodeType) -> str:
    return Path(code.co_filename).name


@cache
def _known(func: Any) -> tuple[str, bool]:
    """Name of an operation without the mark of in-place forms, and whether it multiplies."""
    name: str = func.overloadpacket.__name__
    operation = name[:-1] if name.endswith("_") and not name.startswith("__") else name
    return operation, func.overloadpacket in flop_registry


def _stored_tensors(labels: Labels, model: nn.Module) -> tuple[StoredTensor, ...]:
    saved = set(model.state_dict())
    parameters = labels.stored.parameters
    return tuple(
        StoredTensor(
            name=name,
            shape=tuple(tensor.shape),
            itemsize=tensor.element_size(),
            is_parameter=name in parameters,
            macs=labels.uses.get(name, 0),
        )
        for name, tensor in labels.stored.tensors.items()
        if name in parameters or name in saved
    )


def require_prunable(graph: ChannelGraph) -> None:
    """Raise GraphError, with each group's reason, unless something can be removed."""
    if graph.prunable:
        return
    reasons = _told(graph.groups) or "the model uses no convolution or linear layer"
    raise GraphError(
        f"{graph.model_type} has no group of channels that could be removed. {reasons}."
    )


def _told(groups: Sequence[ChannelGroup]) -> str:
    """Why each group is frozen; of many groups the kinds of reasons, each with an example."""
    if len(groups) <= _MOST_TOLD:
        return "; ".join(f"{group.name}: {group.reason}" for group in groups)
    kinds: dict[str, list[ChannelGroup]] = {}
    for group in groups:
        kinds.setdefault(group.reason.partition(" at ")[0], []).append(group)
    told = [
        f"{len(alike)} of {len(groups)} groups, {alike[0].name} for one: {alike[0].reason}"
        for alike in sorted(kinds.values(), key=len, reverse=True)[:_MOST_TOLD]
    ]
    return "; ".join(told)
