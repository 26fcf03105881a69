"""One ATen call as the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from prunella.core.errors import InputError
from prunella.graph.labels import Labels


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Call:
    """A call during the labelled run.

    Attributes:
        func: The ATen overload.
        operation: Its name without overload and without the mark of in-place forms.
        args: Positional arguments.
        kwargs: Keyword arguments.
        out: What it returned.
        macs: Multiply-adds, of convolutions and matrix products.
        module: Dotted name of the innermost module that is running, on demand; "" for the model
            itself.
        where: Module and source line, for messages; computed on demand.
    """

    func: Any
    operation: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    macs: int
    module: Callable[[], str]
    where: Callable[[], str]

    def tensors(self) -> Iterator[Tensor]:
        """All tensor arguments, those inside lists too."""
        for value in (*self.args, *self.kwargs.values()):
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, (list, tuple)):
                yield from (item for item in value if isinstance(item, Tensor))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """All tensors returned."""
        if isinstance(self.out, Tensor):
            return (self.out,)
        if isinstance(self.out, (tuple, list)):
            return tuple(item for item in self.out if isinstance(item, Tensor))
        return ()

    @property
    def first(self) -> Tensor:
        """The first argument, for operations on one tensor."""
        return next(self.tensors())


Rule = Callable[[Call, Labels], None]
RULES: dict[str, Rule] = {}


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Register how labels pass through the named ATen operations.

    A rule reads the labels of the call's inputs, ties or freezes channels, and attaches labels to
    the call's outputs.

    Raises:
        InputError: an operation already has a rule.
    """

    def register(function: Rule) -> Rule:
        for operation in operations:
            if operation in RULES:
                raise InputError(f"operation {operation!r} already has a rule.")
            RULES[operation] = function
        return function

    return register
