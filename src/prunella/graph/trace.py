"""The labelled run: one forward pass on fake tensors under a dispatch mode."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

import prunella.graph.rules  # noqa: F401  (fills the registry)
from prunella.core.errors import GraphError, InputError
from prunella.core.modes import full_precision
from prunella.core.types import ChannelGraph, StoredTensor
from prunella.graph.call import RULES, Call
from prunella.graph.groups import groups_of
from prunella.graph.labels import Labels
from prunella.graph.rules.contract import freeze_all
from prunella.ops import StoredTensors

_PACKAGE = str(Path(__file__).parents[1] / "graph")
_TORCH = str(Path(torch.__file__).parent)


def trace(model: nn.Module, example_inputs: object) -> ChannelGraph:
    """Find every group of channels that can be removed together, and why others cannot.

    The model is copied onto fake tensors, which hold shapes but no memory, and run once; the given
    model is not touched.

    Args:
        model: Any module; parameters may be on any device.
        example_inputs: A tensor, or a sequence of positional arguments. The first axis is the
            sample; one sample makes multiply-adds read per sample.

    Returns:
        The graph; frozen groups carry their reason.

    Raises:
        InputError: the model cannot be run on the example inputs, or has no parameters.
    """
    arguments = as_arguments(example_inputs)
    if next(model.parameters(), None) is None:
        raise InputError(f"{type(model).__name__} has no parameters, so there is nothing to prune.")
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(fake_mode):
        fake = copy.deepcopy(model)
    fake.eval()
    device = next(model.parameters()).device
    fake_arguments = tree_map(
        lambda leaf: fake_mode.from_tensor(leaf.to(device)) if isinstance(leaf, Tensor) else leaf,
        arguments,
    )
    stored = StoredTensors(fake)
    labels = Labels(stored)
    precision = full_precision(device)
    with _named_modules(fake) as modules, torch.no_grad(), _fastpath_off(), precision:
        try:
            with _LabelMode(labels, fake_mode, modules):
                outputs = fake(*fake_arguments)
            with fake_mode, FlopCounterMode(display=False) as flops:
                fake(*fake_arguments)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(_cannot_run(model, arguments, error)) from error
    for leaf in tree_leaves(outputs):
        known = labels.get(leaf) if isinstance(leaf, Tensor) else None
        if known is not None:
            labels.freeze(known, "is an output of the model")
    macs = flops.get_total_flops() // 2
    tensors = _stored_tensors(stored, labels, model)
    counted = sum(labels.uses.get(t.name, 0) * _numel(t) for t in tensors)
    return ChannelGraph(
        groups=groups_of(labels),
        tensors=tensors,
        other_macs=macs - counted,
        inputs=tree_map(_own_copy, arguments),
        model_type=type(model).__name__,
    )


def as_arguments(example_inputs: object) -> tuple[object, ...]:
    """Example inputs as a tuple of positional arguments.

    Raises:
        InputError: they hold no tensor.
    """
    given = example_inputs
    arguments = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(arguments)):
        raise InputError(
            f"example inputs are {type(example_inputs).__name__} without any tensor; expected a "
            "tensor such as torch.zeros(1, 3, 32, 32), or a tuple of the model's arguments."
        )
    return arguments


class _LabelMode(TorchDispatchMode):
    """Sends every ATen call to its rule."""

    def __init__(self, labels: Labels, fake_mode: FakeTensorMode, modules: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels = labels
        self.fake_mode = fake_mode
        self.modules = modules

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        with self.fake_mode:
            out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        call = Call(
            func=func,
            operation=name[:-1] if name.endswith("_") and not name.startswith("__") else name,
            args=args,
            kwargs=kwargs,
            out=out,
            where=self._where,
        )
        self._label(call)
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

    def _where(self) -> str:
        module = self.modules[-1] if self.modules else ""
        for frame in reversed(traceback.extract_stack()):
            if not frame.filename.startswith((_PACKAGE, _TORCH)):
                line = f"{Path(frame.filename).name}:{frame.lineno}"
                return f"{module or 'the model'} ({line})"
        return module or "the model"


@contextmanager
def _named_modules(model: nn.Module) -> Iterator[list[str]]:
    """Keep the dotted names of the modules that are running, innermost last."""
    running: list[str] = []
    handles = []

    def leave(*_: object) -> None:
        running.pop()

    for name, module in model.named_modules():
        if name:

            def enter(*_: object, entered: str = name) -> None:
                running.append(entered)

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _fastpath_off() -> Iterator[None]:
    """Fused attention hides its matrix products; run it in parts."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _stored_tensors(
    stored: StoredTensors, labels: Labels, model: nn.Module
) -> tuple[StoredTensor, ...]:
    kept = set(model.state_dict())
    parameters = {name for name, _ in model.named_parameters()}
    return tuple(
        StoredTensor(
            name=name,
            shape=tuple(tensor.shape),
            itemsize=tensor.element_size(),
            is_parameter=name in parameters,
            uses=labels.uses.get(name, 0),
        )
        for name, tensor in stored.tensors.items()
        if name in parameters or name in kept
    )


def _numel(tensor: StoredTensor) -> int:
    return torch.Size(tensor.shape).numel()


def _own_copy(leaf: object) -> object:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _cannot_run(model: nn.Module, arguments: tuple[object, ...], error: Exception) -> str:
    shapes = ", ".join(
        str(tuple(leaf.shape)) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)
    )
    return (
        f"{type(model).__name__} cannot be run on the example inputs (shapes {shapes}): {error} "
        "Give inputs of the shape and type the model expects."
    )


def require_prunable(graph: ChannelGraph) -> None:
    """Raise GraphError, with each group's reason, unless something can be removed."""
    if graph.prunable:
        return
    reasons = "; ".join(f"{group.name}: {group.reason}" for group in graph.groups) or (
        "the model uses no convolution or linear layer"
    )
    raise GraphError(
        f"{graph.model_type} has no group of channels that could be removed. {reasons}."
    )
