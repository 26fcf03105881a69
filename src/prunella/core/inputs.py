"""What a model is called with, and the tensors in what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Inputs:
    """The arguments of one call; tensors may lie inside lists, tuples and dictionaries.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(example_inputs: object) -> Inputs:
        """A tensor, a list or tuple of positional arguments, or a dictionary of keyword arguments.

        A model that takes one dictionary as its argument gets it in a tuple: `({...},)`.

        Raises:
            InputError: they hold no tensor.
        """
        given = example_inputs
        if isinstance(given, Inputs):
            found = given
        elif isinstance(given, Mapping):
            found = Inputs(kwargs=dict(given))
        else:
            args = tuple(given) if isinstance(given, (tuple, list)) else (given,)
            found = Inputs(args=args)
        if not any(isinstance(leaf, Tensor) for leaf in found.leaves()):
            raise InputError(
                f"example inputs are {type(example_inputs).__name__} without any tensor; expected "
                "a tensor such as torch.zeros(1, 3, 32, 32), a tuple of the model's arguments, or "
                "a dictionary of its keyword arguments."
            )
        return found

    def leaves(self) -> list[Any]:
        """All values inside the arguments, in order."""
        return list(tree_leaves((self.args, dict(self.kwargs))))

    def map(self, function: Callable[[Tensor], object]) -> Inputs:
        """The same arguments with every tensor replaced."""

        def replaced(leaf: object) -> object:
            return function(leaf) if isinstance(leaf, Tensor) else leaf

        args, kwargs = tree_map(replaced, (self.args, dict(self.kwargs)))
        return Inputs(args=args, kwargs=kwargs)

    def detached(self) -> Inputs:
        """Copies of the tensors, which the caller cannot change."""
        return self.map(lambda leaf: leaf.detach().clone())

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors inside the arguments, in order."""
        return [leaf for leaf in self.leaves() if isinstance(leaf, Tensor)]

    def to(self, device: torch.device) -> Inputs:
        """The same arguments with all tensors on another device."""
        return self.map(lambda leaf: leaf.to(device))

    def call(self, model: nn.Module) -> object:
        """What the model returns for these arguments."""
        return model(*self.args, **self.kwargs)

    def words(self) -> str:
        """Shapes of the tensors, for messages."""
        return ", ".join(str(tuple(tensor.shape)) for tensor in self.tensors)

    # -- of a batch, where the sample is the first axis of every tensor --------------------------

    def samples(self, chosen: slice) -> Inputs:
        """Some samples of a batch."""
        return self.map(lambda leaf: leaf[chosen])

    def copies(self, count: int) -> Inputs:
        """A batch of copies of the first sample."""
        return self.map(lambda leaf: leaf[:1].expand(count, *leaf.shape[1:]).contiguous())

    @property
    def form(self) -> str:
        """What two batches must have in common to be put together: all but the number of samples.

        Sentences padded to different lengths, for instance, have different forms.
        """
        leaves, structure = tree_flatten((self.args, dict(self.kwargs)))
        parts = [
            f"{leaf.dtype}{tuple(leaf.shape[1:])}" if isinstance(leaf, Tensor) else repr(leaf)
            for leaf in leaves
        ]
        return f"{structure} {parts}"

    @staticmethod
    def together(batches: Sequence[Inputs]) -> Inputs:
        """One batch of several of the same form, at least one."""
        flat = [tree_flatten((batch.args, dict(batch.kwargs))) for batch in batches]
        columns = zip(*(leaves for leaves, _ in flat), strict=True)
        leaves = [torch.cat(c) if isinstance(c[0], Tensor) else c[0] for c in columns]
        args, kwargs = tree_unflatten(leaves, flat[0][1])
        return Inputs(args=args, kwargs=kwargs)


def tensors_in(outputs: object) -> Iterator[Tensor]:
    """All tensors of a model's outputs: in containers, data classes and objects with fields."""
    for leaf in tree_leaves(outputs):
        if isinstance(leaf, Tensor):
            yield leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            for entry in dataclasses.fields(leaf):
                yield from tensors_in(getattr(leaf, entry.name))
        elif isinstance(leaf, Mapping):
            yield from tensors_in(dict(leaf))
